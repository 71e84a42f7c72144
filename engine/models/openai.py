"""Models behind a native tools API: tools travel in the request, calls and results in messages of their own.

Source: OpenAI's API reference of chat completions, and its guides to function calling and structured outputs. The
same request works on vLLM with `--enable-auto-tool-choice` and a `--tool-call-parser`, where arguments are held for
strict tools only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from engine.errors import ConfigError
from engine.grammar.bounds import Bounds
from engine.grammar.constraint import NO_CONSTRAINT, Constraint, ConstraintOptions, Mode
from engine.grammar.schema import Problem
from engine.grammar.strategies import ToolGrammarError, resolve_strategy
from engine.messages import Message, Reply, ToolCall, ToolResult, ToolSchema
from engine.models import function_gemma_format, hermes, llama3
from engine.models.api_calls import read_api_calls
from engine.models.base import CallMarks
from engine.models.openai_nulls import without_nulls
from engine.models.openai_strict import strict_parameters
from engine.models.scanner import untagged
from engine.models.untrusted import break_tokens

MODES: tuple[Mode, ...] = ("auto", "json_schema")
STRATEGIES = ("typed", "none")
_TOKENS_OF_AN_ITEM = 32
# The model behind the API is not known, so the tokens of every family are broken.
CONTROL_TOKENS = (*hermes.CONTROL_TOKENS, *llama3.CONTROL_TOKENS, *function_gemma_format.CONTROL_TOKENS)


class OpenAIPlugin:
    """The `openai` family: whatever model a server with a native tools API has."""

    name = "openai"

    def __init__(self, grammar_strategy: str = "typed") -> None:
        self._strategy = grammar_strategy

    def build_messages(
        self,
        prompt: str | None,
        system: str | None,
        tools: Sequence[ToolSchema],  # noqa: ARG002 - the request declares them
        history: Sequence[Message] = (),
    ) -> list[dict[str, Any]]:
        """Return the wire messages as the API has them: calls with their ids, each result with the id of its call."""
        head = [] if system is None else [Message("system", system)]
        tail = [] if prompt is None else [Message("user", prompt)]
        return [_wire(message) for message in (*head, *history, *tail)]

    def tool_choice(self, tools: Sequence[ToolSchema]) -> str | None:
        """Return `required`: the API declares the tools; None without tools."""
        return "required" if tools else None

    def grammar_strategy(self) -> str:
        """Return the default strategy."""
        return self._strategy

    def modes(self) -> tuple[Mode, ...]:
        """Return the grammar modes that this family supports."""
        return MODES

    def constraint(self, tools: Sequence[ToolSchema], options: ConstraintOptions) -> Constraint:
        """Return the strict tools, and whether one of them must be called; without tools there is no constraint.

        Raises:
            ConfigError: The strategy or the mode does not exist here.
            ToolGrammarError: A tool's parameters have no strict schema.
        """
        strategy = resolve_strategy(options.strategy)
        if strategy.name not in STRATEGIES:
            raise ConfigError(
                f"model plugin 'openai' has no grammar strategy '{strategy.name}': its servers take tool schemas, no "
                f"grammars; use typed, or none"
            )
        if strategy.name == "none" or not tools:
            return NO_CONSTRAINT
        if options.mode not in MODES:
            raise ConfigError(f"model plugin 'openai' has no grammar mode '{options.mode}'; it has {', '.join(MODES)}")
        wanted = (options.text == "allowed", options.parallel_calls, _fitted(options))
        # Whoever gets a constraint may change it, so only its text is kept.
        value = json.loads(_written(_content(tools), *wanted))
        return Constraint("strict_tools", value, f"{strategy.name}@{strategy.version}")

    def unheld(self, tool: ToolSchema, mode: Mode) -> list[Problem]:  # noqa: ARG002 - the Protocol's signature
        """Return what the tool's schema says and its strict schema does not."""
        return strict_parameters(tool.parameters)[1]

    def format_calls(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls as JSON text, in the form that a model without the API's help writes them."""
        values = [{"name": call.name, "arguments": call.arguments} for call in calls]
        return _json(values[0] if len(values) == 1 else values) if values else ""

    def format_result(self, result: ToolResult) -> str:
        """Return a result as the model reads it."""
        return _text(result.content)

    def call_marks(self) -> CallMarks:
        """Return how calls are known in a streamed text: it has none, unless it is their JSON and nothing else."""
        return CallMarks(untagged=True)

    def parse_response(
        self, text: str, tools: Sequence[ToolSchema] = (), api_calls: Sequence[Mapping[str, Any]] = ()
    ) -> Reply:
        """Return the API's calls with their ids; without any, a text that is the JSON of known tools' calls is read."""
        schemas = {tool.name: tool.parameters for tool in tools}
        if api_calls:
            good, bad = read_api_calls(api_calls)
            reply = Reply(text.strip(), good, bad)
        else:
            reply = untagged(text, schemas.keys()).reply()
        return replace(reply, tool_calls=tuple(_restored(call, schemas.get(call.name)) for call in reply.tool_calls))


def _restored(call: ToolCall, parameters: Mapping[str, Any] | None) -> ToolCall:
    return call if parameters is None else replace(call, arguments=without_nulls(parameters, call.arguments))


def _content(tools: Sequence[ToolSchema]) -> str:
    try:
        return json.dumps([[tool.name, tool.description, tool.parameters] for tool in tools], default=dict)
    except (TypeError, ValueError, RecursionError) as error:
        names = ", ".join(tool.name for tool in tools)
        raise ToolGrammarError(f"the schema of a tool ({names}) is not JSON: {error}") from error


def _fitted(options: ConstraintOptions) -> Bounds:
    """Return the bounds with which lists end within the token limit; strict mode knows no other bounds of length."""
    if options.max_tokens is None:
        return options.bounds
    return replace(options.bounds, items=max(2, min(options.bounds.items, options.max_tokens // _TOKENS_OF_AN_ITEM)))


@lru_cache(maxsize=256)
def _written(content: str, text: bool, parallel: bool, bounds: Bounds) -> str:
    """Return the constraint's JSON; the same content is written once."""
    functions = [_strict(ToolSchema(*row), bounds) for row in json.loads(content)]
    value = {
        "tools": [{"type": "function", "function": function} for function in functions],
        "tool_choice": "auto" if text else "required",
        "parallel_tool_calls": parallel,
    }
    return json.dumps(value)


def _strict(tool: ToolSchema, bounds: Bounds) -> dict[str, Any]:
    parameters, problems = strict_parameters(tool.parameters, bounds)
    refused = next((problem for problem in problems if problem.refused), None)
    if parameters is None or refused is not None:
        where = f"{refused.path or 'its schema'}: {refused.keyword}: {refused.reason}" if refused else "its schema"
        raise ToolGrammarError(
            f"tool '{tool.name}' has no strict schema: {where}; change the schema or use strategy none"
        )
    return {"name": tool.name, "description": tool.description, "parameters": parameters, "strict": True}


def _wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": _text(message.content)}
    if message.role == "tool":
        wire |= {"tool_call_id": message.tool_call_id or "", "name": message.name or ""}
    elif message.tool_calls:
        wire["tool_calls"] = [_api_call(call) for call in message.tool_calls]
    return wire


def _api_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": _text(_json(call.arguments))}
    return {"id": call.id, "type": "function", "function": function}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=dict)


def _text(text: str) -> str:
    return break_tokens(text, CONTROL_TOKENS)

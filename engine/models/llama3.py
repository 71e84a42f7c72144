"""Llama 3.1, 3.2 and 3.3: JSON calls without tags, tools in the first user turn, results in `ipython` turns.

Source: the chat template that ships with Llama-3.1-8B-Instruct, for custom tools. The template puts the tools before
the first user message; a conversation without one gets them in the system turn, the template's other form. Its line
`Environment: ipython` is left out, since it invites Python instead of JSON. Chat endpoints let a message of role
`ipython` through (vLLM 0.32, llama.cpp), and the template writes its content as a JSON string.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.grammar.frame import CallFrame
from engine.grammar.json_syntax import JsonSyntax
from engine.messages import Message, Reply, ToolCall, ToolResult, ToolSchema
from engine.models.base import CallMarks
from engine.models.llama_scan import PYTHON_TAG, scan_llama_calls
from engine.models.text_family import TextFamily
from engine.models.untrusted import break_tokens

CONTROL_TOKENS = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    PYTHON_TAG,
    "<|finetune_right_pad_id|>",
    "<|reserved_special_token_",
)
_TAG = '{"name": "'
LLAMA_FRAME = CallFrame(
    _TAG, '", "parameters": ', "}", "; ", _TAG, JsonSyntax(end="}"), json_keys=("name", "parameters")
)
_IN_USER_TURN = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that best "
    "answers the given prompt.\n\n"
)
_IN_SYSTEM_TURN = (
    "You have access to the following functions. To call a function, please respond with JSON for a function call."
)
_FORMAT = (
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    "Do not use variables.\n\n"
)


class Llama3Plugin(TextFamily):
    """The `llama3` family."""

    name = "llama3"
    call_frame = LLAMA_FRAME

    def build_messages(
        self, prompt: str | None, system: str | None, tools: Sequence[ToolSchema], history: Sequence[Message] = ()
    ) -> list[dict[str, Any]]:
        """Return the wire messages: system turn, history and prompt, the tools before the first user message."""
        turns = list(history) if prompt is None else [*history, Message("user", prompt)]
        if system is None and turns and turns[0].role == "system":
            system = turns.pop(0).content
        first = next((place for place, turn in enumerate(turns) if turn.role == "user"), None)
        if tools and first is None:
            system = _declare(_IN_SYSTEM_TURN, tools) + (system or "")
        wire = [self._wire(turn) for turn in turns]
        if tools and first is not None:
            declared = break_tokens(_declare(_IN_USER_TURN, tools), CONTROL_TOKENS)
            wire[first]["content"] = declared + wire[first]["content"]
        head = [{"role": "system", "content": break_tokens(system, CONTROL_TOKENS)}] if system else []
        return [*head, *wire]

    def _wire(self, message: Message) -> dict[str, Any]:
        role = "ipython" if message.role == "tool" else message.role
        parts = [message.content, self.format_calls(message.tool_calls)]
        return {"role": role, "content": break_tokens("\n".join(part for part in parts if part), CONTROL_TOKENS)}

    def format_calls(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls as the model would write them."""
        return LLAMA_FRAME.separator.join(_call(call) for call in calls)

    def format_result(self, result: ToolResult) -> str:
        """Return a result as the model reads it, before the template quotes it."""
        return break_tokens(result.content, CONTROL_TOKENS)

    def call_marks(self) -> CallMarks:
        """Return how calls are known while a reply comes in pieces."""
        return CallMarks((PYTHON_TAG, "{", "["), json=True, separator=";")

    def read_text(self, text: str, tools: Sequence[ToolSchema]) -> Reply:
        """Return the calls of a text, those that cannot be read, and the text around them."""
        return scan_llama_calls(text, [tool.name for tool in tools])


def _json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, default=dict, indent=indent)


def _call(call: ToolCall) -> str:
    return f"{LLAMA_FRAME.open}{_json(call.name)[1:-1]}{LLAMA_FRAME.between}{_json(call.arguments)}{LLAMA_FRAME.close}"


def _declare(intro: str, tools: Sequence[ToolSchema]) -> str:
    return intro + _FORMAT + "".join(f"{_json(_declaration(tool), 4)}\n\n" for tool in tools)


def _declaration(tool: ToolSchema) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}

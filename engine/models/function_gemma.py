"""FunctionGemma: tools declared in the developer turn, calls and results between the model's own tokens.

Source: the page "FunctionGemma formatting and best practices" and the chat template that ships with the model.

Every wire message is text, with roles that every chat template knows. The model's own template makes the `system`
message its developer turn. Results stand in a `user` message: a reply that a server is asked to continue (a last
message of the model) comes back from llama.cpp with that message before it, and templates refuse other roles there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from engine.errors import ConfigError
from engine.grammar.constraint import Mode
from engine.grammar.frame import CallFrame
from engine.grammar.syntax import ESCAPE_SYNTAX
from engine.messages import Message, Reply, ToolCall, ToolResult, ToolSchema
from engine.models.base import CallMarks
from engine.models.function_gemma_format import (
    CALL_CLOSE,
    CALL_OPEN,
    CONTROL_TOKENS,
    RESPONSE_OPEN,
    declare,
    write_call,
    write_result,
)
from engine.models.function_gemma_scanner import scan_function_calls
from engine.models.text_family import TextFamily
from engine.models.untrusted import break_tokens

ACTIVATION = "You are a model that can do function calling with the following functions"
FRAME = CallFrame(f"{CALL_OPEN}call:", "", CALL_CLOSE, "", CALL_OPEN, ESCAPE_SYNTAX)


class FunctionGemmaPlugin(TextFamily):
    """The `function_gemma` family.

    Args:
        grammar_strategy: Its default strategy.
    """

    name = "function_gemma"
    call_frame = FRAME
    grammar_modes: ClassVar[tuple[Mode, ...]] = ("auto", "ebnf", "structural_tag")

    def build_messages(
        self, prompt: str | None, system: str | None, tools: Sequence[ToolSchema], history: Sequence[Message] = ()
    ) -> list[dict[str, Any]]:
        """Return the wire messages: the developer turn with the tools, history, prompt; user turns in a row are one.

        Raises:
            ConfigError: A tool message of the history names no tool, and no call has its id.
        """
        rest = list(history)
        if system is None and rest and rest[0].role == "system":
            system = rest.pop(0).content
        head = _developer(system or "", tools)
        wire: list[dict[str, Any]] = [{"role": "system", "content": head}] if head else []
        names: dict[str, str] = {}
        previous = ""
        for message in rest:
            names.update((call.id, call.name) for call in message.tool_calls)
            glue = "" if message.role == previous == "tool" else "\n"
            _append(wire, *_turn(message, names), glue)
            previous = message.role
        if prompt is not None:
            _append(wire, "user", _text(prompt), "\n")
        return wire

    def format_calls(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls as the model would write them; a string cannot hold `<escape>`, which is broken."""
        return "".join(map(write_call, calls))

    def format_result(self, result: ToolResult) -> str:
        """Return a result as the model reads it, tokens included."""
        return write_result(result.name, result.content)

    def call_marks(self) -> CallMarks:
        """Return how calls are known while a reply comes in pieces."""
        return CallMarks((CALL_OPEN, RESPONSE_OPEN), CALL_CLOSE, untagged=True)

    def read_text(self, text: str, tools: Sequence[ToolSchema]) -> Reply:
        """Return the calls of a text, those that cannot be read, and the text around them."""
        return scan_function_calls(text, tools)


def _text(text: str) -> str:
    return break_tokens(text, CONTROL_TOKENS)


def _developer(system: str, tools: Sequence[ToolSchema]) -> str:
    """Return the developer turn: the system text, then the sentence that switches tools on, and their declarations."""
    head = _text(system)
    if not tools:
        return head
    lines = [head] if head else []
    return "\n".join([*lines, ACTIVATION]) + "".join(map(declare, tools))


def _turn(message: Message, names: Mapping[str, str]) -> tuple[str, str]:
    """Return role and text of a message."""
    if message.role == "tool":
        name = message.name or names.get(message.tool_call_id or "")
        if not name:
            raise ConfigError(
                "a tool message of the history names no tool, and function_gemma writes the name into the result: "
                "give the message a name, or the tool_call_id of a call before it"
            )
        return "user", write_result(name, message.content)
    role = "user" if message.role == "system" else message.role
    calls = "".join(write_call(call, CONTROL_TOKENS) for call in message.tool_calls)
    return role, _text(message.content) + calls


def _append(wire: list[dict[str, Any]], role: str, content: str, glue: str) -> None:
    """Add a turn; some chat templates refuse two turns of the user in a row, so they become one."""
    if role == "user" and wire and wire[-1]["role"] == "user":
        wire[-1]["content"] += glue + content
    else:
        wire.append({"role": role, "content": content})

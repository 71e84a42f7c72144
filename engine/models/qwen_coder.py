"""Qwen3-Coder: ChatML turns, tools and calls in an XML-like form, one tag for each parameter.

Source: the chat template that ships with Qwen3-Coder; the tests compare with it byte for byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, ClassVar

from engine.grammar.constraint import Mode
from engine.grammar.frame import CallFrame
from engine.grammar.syntax import PARAMETER_SYNTAX
from engine.messages import Message, Reply, ToolCall, ToolResult, ToolSchema
from engine.models.base import CallMarks
from engine.models.hermes import as_text, tool_response
from engine.models.qwen_coder_declaration import declare
from engine.models.qwen_coder_scanner import CLOSE, FUNCTION, FUNCTION_END, OPEN, PARAMETER_END, scan_xml_calls
from engine.models.text_family import TextFamily
from engine.models.untrusted import break_tokens

FRAME = CallFrame(f"{OPEN}\n{FUNCTION}", ">\n", f"{FUNCTION_END}\n{CLOSE}", "\n", OPEN, PARAMETER_SYNTAX)
_NO_SYSTEM = "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks."


class QwenCoderPlugin(TextFamily):
    """The `qwen_coder` family.

    Args:
        grammar_strategy: Its default strategy.
    """

    name = "qwen_coder"
    call_frame = FRAME
    grammar_modes: ClassVar[tuple[Mode, ...]] = ("auto", "ebnf", "structural_tag")

    def build_messages(
        self, prompt: str | None, system: str | None, tools: Sequence[ToolSchema], history: Sequence[Message] = ()
    ) -> list[dict[str, Any]]:
        """Return the wire messages: system turn with the tools, history, prompt; results in a row share a user turn."""
        rest = list(history)
        if system is None and rest and rest[0].role == "system":
            system = rest.pop(0).content
        head = f"{system or _NO_SYSTEM}\n\n{declare(tools)}" if tools else system
        wire: list[dict[str, Any]] = [{"role": "system", "content": as_text(head)}] if head else []
        previous = ""
        for message in rest:
            if message.role == previous == "tool":
                wire[-1]["content"] += _result(message.content)
            else:
                wire.append(self._wire(message))
            previous = message.role
        return wire if prompt is None else [*wire, {"role": "user", "content": as_text(prompt)}]

    def _wire(self, message: Message) -> dict[str, Any]:
        if message.role == "tool":
            return {"role": "user", "content": _result(message.content)}
        parts = [message.content.strip() if message.tool_calls else message.content]
        parts.append(self.format_calls(message.tool_calls))
        return {"role": message.role, "content": as_text("\n\n".join(part for part in parts if part))}

    def format_calls(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls as the model would write them; a string cannot hold `</parameter>`, which is broken."""
        return FRAME.separator.join(map(_call, calls))

    def format_result(self, result: ToolResult) -> str:
        """Return a result as the model reads it, tags included."""
        return tool_response(result.content)

    def call_marks(self) -> CallMarks:
        """Return how calls are known while a reply comes in pieces."""
        return CallMarks((OPEN, FUNCTION), CLOSE, untagged=True)

    def read_text(self, text: str, tools: Sequence[ToolSchema]) -> Reply:
        """Return the calls of a text, those that cannot be read, and the text around them."""
        return scan_xml_calls(text, tools)


def _result(content: str) -> str:
    return tool_response(content) + "\n"


def _call(call: ToolCall) -> str:
    before, after = PARAMETER_SYNTAX.around_key
    arguments = [f"{before}{name}{after}{_value(value)}\n{PARAMETER_END}\n" for name, value in call.arguments.items()]
    return f"{FRAME.begin(call.name)}{''.join(arguments)}{FRAME.close}"


def _value(value: Any) -> str:
    if isinstance(value, str):
        return break_tokens(value, (PARAMETER_END,))
    # In JSON the tag can only stand inside a string, where an escape says the same.
    return json.dumps(value, ensure_ascii=False, default=dict).replace(PARAMETER_END, PARAMETER_END.replace("/", "\\/"))

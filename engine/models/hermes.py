"""The Hermes wire format on ChatML turns: tools as JSON lines in the system turn, calls and results between tags.

Source: the chat template that ships with Qwen2.5-Instruct and Qwen3 (non-Coder); the tests compare with it byte for
    byte.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.grammar.frame import CallFrame
from engine.messages import Message, Reply, ToolCall, ToolResult, ToolSchema
from engine.models.base import CallMarks
from engine.models.scanner import scan_calls
from engine.models.text_family import TextFamily
from engine.models.untrusted import break_tokens

CONTROL_TOKENS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
HERMES_FRAME = CallFrame('<tool_call>\n{"name": "', '", "arguments": ', "}\n</tool_call>", "\n", "<tool_call>")
_BEFORE = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_AFTER = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


class HermesPlugin(TextFamily):
    """A model family that calls tools in the Hermes format.

    Attributes:
        ascii_only: Characters outside ASCII are written as JSON escapes.
    """

    call_frame = HERMES_FRAME
    ascii_only = False

    def build_messages(
        self, prompt: str | None, system: str | None, tools: Sequence[ToolSchema], history: Sequence[Message] = ()
    ) -> list[dict[str, Any]]:
        """Return the wire messages: system turn with the tools, history, prompt; results in a row share a user turn."""
        rest = list(history)
        if system is None and rest and rest[0].role == "system":
            system = rest.pop(0).content
        head = "\n\n".join(part for part in (system, self._declare(tools)) if part)
        wire: list[dict[str, Any]] = [{"role": "system", "content": as_text(head)}] if head else []
        previous = ""
        for message in rest:
            if message.role == "tool" and previous == "tool":
                wire[-1]["content"] += "\n" + tool_response(message.content)
            else:
                wire.append(self._wire(message))
            previous = message.role
        return wire if prompt is None else [*wire, {"role": "user", "content": as_text(prompt)}]

    def _declare(self, tools: Sequence[ToolSchema]) -> str:
        if not tools:
            return ""
        return _BEFORE + "".join("\n" + self._json(_declaration(tool)) for tool in tools) + _AFTER

    def _json(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=self.ascii_only, default=dict)

    def _wire(self, message: Message) -> dict[str, Any]:
        if message.role == "tool":
            return {"role": "user", "content": tool_response(message.content)}
        parts = [message.content, self.format_calls(message.tool_calls)]
        return {"role": message.role, "content": as_text("\n".join(part for part in parts if part))}

    def format_calls(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls as the model would write them."""
        return HERMES_FRAME.separator.join(self._call(call) for call in calls)

    def _call(self, call: ToolCall) -> str:
        name = self._json(call.name)[1:-1]
        return f"{HERMES_FRAME.open}{name}{HERMES_FRAME.between}{self._json(call.arguments)}{HERMES_FRAME.close}"

    def format_result(self, result: ToolResult) -> str:
        """Return a result as the model reads it, tags included."""
        return tool_response(result.content)

    def call_marks(self) -> CallMarks:
        """Return how calls are known while a reply comes in pieces."""
        return CallMarks((HERMES_FRAME.tag,), "</tool_call>", json=True, untagged=True)

    def read_text(self, text: str, tools: Sequence[ToolSchema]) -> Reply:
        """Return the calls of a text, those that cannot be read, and the text around them."""
        return scan_calls(text, [tool.name for tool in tools])


def _declaration(tool: ToolSchema) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


def as_text(text: str) -> str:
    """Return a text in which no control token of ChatML stands as such: servers would read it as the end of a turn.

    Source code and tool results are untrusted, and may well quote such a token.
    """
    return break_tokens(text, CONTROL_TOKENS)


def tool_response(content: str) -> str:
    """Return a tool's result between the tags that Qwen's models know."""
    inside = as_text(content).replace("</tool_response>", "< /tool_response>")
    return f"<tool_response>\n{inside}\n</tool_response>"

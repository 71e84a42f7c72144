"""Messages in the form of the conventions for generative AI: roles with parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Json = dict[str, Any]


def input_messages(messages: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return the messages of a request."""
    return [{"role": message.get("role", "user"), "parts": _parts(message)} for message in messages]


def output_messages(text: str, finish_reason: str) -> list[Json]:
    """Return a reply."""
    return [{"role": "assistant", "parts": [_text(text)], "finish_reason": finish_reason}]


def _parts(message: Mapping[str, Any]) -> list[Json]:
    content = message.get("content")
    if message.get("role") == "tool":
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
    calls = [_call(call) for call in message.get("tool_calls") or ()]
    return ([_text(content)] if content or not calls else []) + calls


def _text(content: Any) -> Json:
    return {"type": "text", "content": content}


def _call(call: Mapping[str, Any]) -> Json:
    function = call.get("function") or {}
    named = {"name": function.get("name"), "arguments": function.get("arguments")}
    return {"type": "tool_call", "id": call.get("id"), **named}

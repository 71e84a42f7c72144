"""From the JSON of `/chat/completions` to a Completion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.backends.base import Completion
from engine.backends.connection import MalformedReplyError
from engine.messages import Usage


def read_completion(payload: Any, model: str) -> Completion:
    """Read the first choice.

    Raises:
        MalformedReplyError: The answer is not what the protocol says.
    """
    try:
        choice = payload["choices"][0]
        message = choice["message"]
        text = "" + (message.get("content") or "")
        calls = tuple(call for call in message.get("tool_calls") or () if isinstance(call, Mapping))
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise MalformedReplyError(f"answered without a choice: {str(payload)[:200]}") from error
    return Completion(
        text=text,
        tool_calls=calls,
        finish_reason=str(choice.get("finish_reason") or "stop"),
        usage=_usage(payload.get("usage")),
        model=str(payload.get("model") or model),
    )


def _usage(row: Any) -> Usage:
    if not isinstance(row, Mapping):
        return Usage()
    details = row.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return Usage(_count(row.get("prompt_tokens")), _count(row.get("completion_tokens")), _count(cached))


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0

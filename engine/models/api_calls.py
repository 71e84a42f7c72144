"""Calls that a server parsed itself, as the OpenAI API has them: `{"id", "function": {"name", "arguments": text}}`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.messages import MalformedCall, ToolCall
from engine.models.call_json import CallFault, as_arguments, load


def read_api_calls(calls: Sequence[Mapping[str, Any]]) -> tuple[tuple[ToolCall, ...], tuple[MalformedCall, ...]]:
    """Return the calls, with the API's own ids (a missing or repeated one is replaced), and the unreadable ones."""
    good: list[ToolCall] = []
    bad: list[MalformedCall] = []
    given = {str(call.get("id")) for call in calls}
    taken: set[str] = set()
    for number, call in enumerate(calls, start=1):
        try:
            name, arguments = _read(call)
        except CallFault as fault:
            bad.append(MalformedCall(json.dumps(call, default=str), str(fault)))
            continue
        ident = _free_id(call.get("id"), number, taken, given)
        taken.add(ident)
        good.append(ToolCall(ident, name, arguments))
    return tuple(good), tuple(bad)


def _read(call: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    function = call.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
        raise CallFault("the call has no function name")
    arguments = function.get("arguments")
    return name, as_arguments(load(arguments) if isinstance(arguments, str) else arguments)


def _free_id(own: Any, number: int, taken: set[str], given: set[str]) -> str:
    if isinstance(own, str) and own and own not in taken:
        return own
    while f"call_{number}" in taken | given:
        number += 1
    return f"call_{number}"

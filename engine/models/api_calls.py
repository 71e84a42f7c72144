"""Calls that a server parsed itself, as the OpenAI API has them: `{"id", "function": {"name", "arguments": text}}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class _Assembled:
    """One call while its pieces come."""

    id: str | None = None
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    stray: Any = None

    def as_call(self) -> dict[str, Any]:
        if self.stray is not None:
            return {"id": None, "type": "function", "function": None, "delta": self.stray}
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


class CallAssembler:
    """Puts streamed `tool_calls` deltas together into the calls that a reply without streaming would have had.

    A delta is `{"index", "id", "type", "function": {"name", "arguments"}}`, each part of it optional: id and name come
    first, then the arguments in pieces. Servers differ, so an index may be missing or stay 0 for several calls, an id
    or a name may come again with every piece, and arguments may be an object instead of text. What is no delta at all
    is kept as a call without a function, which `read_api_calls` reports.
    """

    def __init__(self) -> None:
        self._calls: list[_Assembled] = []
        self._at: dict[int, _Assembled] = {}
        self._named: dict[str, _Assembled] = {}

    def add(self, deltas: Iterable[Any] | None) -> None:
        """Take the `tool_calls` of one streamed delta; None and an empty list are nothing."""
        for delta in deltas or ():
            if isinstance(delta, Mapping):
                self._merge(delta)
            else:
                self._calls.append(_Assembled(stray=delta if delta is not None else "null"))

    def calls(self) -> list[dict[str, Any]]:
        """Return the calls so far, in the order in which they began, as the API has them without streaming."""
        return [call.as_call() for call in self._calls]

    def _merge(self, delta: Mapping[str, Any]) -> None:
        function = delta.get("function")
        if not isinstance(function, Mapping):
            function = {}
        ident, name = _text(delta.get("id")), _text(function.get("name"))
        call = self._call_of(delta.get("index"), ident, name)
        if ident:
            call.id = ident
            self._named[ident] = call
        if name and not call.name:
            call.name = name
        arguments = function.get("arguments")
        if arguments is not None:
            call.arguments.append(arguments if isinstance(arguments, str) else json.dumps(arguments, default=str))

    def _call_of(self, index: Any, ident: str, name: str) -> _Assembled:
        """Return the call that a delta goes on with, or a new one."""
        numbered = isinstance(index, int) and not isinstance(index, bool)
        current = self._at.get(index) if numbered else self._named.get(ident) or self._last()
        if current is None or _begins_another(current, ident, name, numbered=numbered):
            current = _Assembled()
            self._calls.append(current)
        if numbered:
            self._at[index] = current
        return current

    def _last(self) -> _Assembled | None:
        return self._calls[-1] if self._calls else None


def _begins_another(current: _Assembled, ident: str, name: str, *, numbered: bool) -> bool:
    """Whether a delta with this id and name cannot belong to the call; without an index a name begins a call."""
    if current.stray is not None:
        return True
    if ident and current.id:
        return ident != current.id
    if not name or not current.name:
        return False
    return name != current.name or (not numbered and bool(current.arguments))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""

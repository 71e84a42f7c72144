"""JSON of events: strict output whatever a tool or a model put into them."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from engine.events.types import Event

_DEPTH = 100
_BIG = 10**1000  # CPython refuses to print integers of more than 4300 digits


def dump(value: Any) -> str:
    """Return compact ASCII JSON (RFC 8259) of any value; it never fails and drops nothing.

    What JSON cannot hold is spelled out: bytes become `{"base64": …}`, NaN and the infinities strings, other objects
    their `repr`; lone surrogates become escapes. Beyond 100 levels and in cycles, a type's name stands for a value.
    """
    try:
        return _STRICT.encode(value)
    except (TypeError, ValueError, RecursionError):
        return _STRICT.encode(_plain(value))


def load(text: str) -> dict[str, Any]:
    """Return the object that `dump` wrote; what is no JSON object comes back as `{"unreadable": text}`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError, TypeError):
        value = None
    return value if isinstance(value, dict) else {"unreadable": text if isinstance(text, str) else repr(text)}


def event_to_json(event: Event, seq: int, time: float) -> dict[str, Any]:
    """Return an event as the object of one `--json` line: seq, time, type, run_id, task_id, then its own fields.

    Args:
        event: The event.
        seq: Its number within the run, from 1.
        time: When it happened, in seconds since 1970 UTC.
    """
    head = {"seq": seq, "time": time, "type": event.type, "run_id": event.run_id, "task_id": event.task_id}
    return head | load(dump(event.payload()))


def _foreign(value: Any) -> Any:
    """Turn a value that JSON does not know into one that it knows."""
    try:
        return _known(value)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything, and an event must not fail for it
        return f"<{type(value).__name__}>"


def _known(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump()
    return str(value) if hasattr(value, "__fspath__") else repr(value)


def _plain(value: Any, path: tuple[int, ...] = ()) -> Any:
    """Return a copy that strict JSON can hold: the slow path of `dump`.

    Args:
        value: Anything.
        path: The ids of the containers around it.
    """
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return _number(value)
    if id(value) in path or len(path) == _DEPTH:
        return f"<{type(value).__name__}>"
    path = (*path, id(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(item, path) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, path) for item in value]
    return _plain(_foreign(value), path)


def _number(value: float) -> float | str:
    if isinstance(value, int):
        return value if abs(value) < _BIG else hex(value)
    return value if math.isfinite(value) else repr(value)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(_foreign(key))


_STRICT = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=_foreign)

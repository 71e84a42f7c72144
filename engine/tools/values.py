"""From what the sandbox returns to strict JSON: what has no JSON form is an error, never a silent text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import PurePath
from typing import Any

MAX_DEPTH = 64
MAX_WEIGHT = 8 * 1024 * 1024
_MAX_BITS = 8192
# The sandbox turns what cannot cross into its repr: a forgotten await looks like this.
_REPR = re.compile(
    r"<(?:coroutine|function|class|module|generator|async_generator|bound method|builtin\w*)\b[^<>\n]{0,200}>"
)


class NotJsonError(ValueError):
    """A value has no JSON form; the message says which and why."""


def to_json(value: Any) -> Any:
    """Return the value as None, bool, int, float, str, list and dict with text keys.

    Tuples and sets become lists (sets sorted); Decimal, dates, times and paths become text; instances become the dict
    of their attributes.

    Raises:
        NotJsonError: NaN, bytes, keys that are not text, functions and coroutines, or too much nesting or data.
    """
    return _Converter().convert(value, 0)


class _Converter:
    def __init__(self) -> None:
        self._left = MAX_WEIGHT

    def convert(self, value: Any, depth: int) -> Any:
        self._charge(1)
        if depth > MAX_DEPTH:
            raise NotJsonError(f"it is nested more than {MAX_DEPTH} levels deep")
        for kinds, handler in _HANDLERS:
            if isinstance(value, kinds):
                return handler(self, value, depth)
        if type(value).__name__ == "MontyClassProxy":
            return self.mapping(value.attributes, depth)
        raise NotJsonError(f"a value of type {type(value).__name__} has no JSON form")

    def scalar(self, value: Any, _depth: int) -> Any:
        if isinstance(value, int) and value.bit_length() > _MAX_BITS:
            raise NotJsonError(f"a number has more than {_MAX_BITS} bits")
        return value

    def number(self, value: float, _depth: int) -> float:
        if not math.isfinite(value):
            raise NotJsonError(f"{value} has no JSON form")
        return float(value)

    def text(self, value: str, _depth: int) -> str:
        self._charge(len(value))
        if value.startswith("<") and _REPR.fullmatch(value):
            raise NotJsonError(f"{value} is not data; a call of an async function needs await")
        return str(value)

    def items(self, value: Any, depth: int) -> list[Any]:
        return [self.convert(item, depth + 1) for item in value]

    def unordered(self, value: Any, depth: int) -> list[Any]:
        return sorted(self.items(value, depth), key=lambda item: json.dumps(item, sort_keys=True))

    def mapping(self, value: dict[Any, Any], depth: int) -> dict[str, Any]:
        for key in value:
            if not isinstance(key, str):
                raise NotJsonError(f"the key {key!r} of a dict is not a text")
            self._charge(len(key))
        return {key: self.convert(item, depth + 1) for key, item in value.items()}

    def shown(self, value: Any, _depth: int) -> str:
        return str(value)

    def iso(self, value: Any, _depth: int) -> str:
        return str(value.isoformat())

    def _charge(self, weight: int) -> None:
        self._left -= weight
        if self._left < 0:
            raise NotJsonError(f"it is larger than {MAX_WEIGHT} characters")


_HANDLERS: tuple[tuple[Any, Callable[[_Converter, Any, int], Any]], ...] = (
    ((type(None), bool, int), _Converter.scalar),
    (str, _Converter.text),
    (dict, _Converter.mapping),
    ((list, tuple), _Converter.items),
    (float, _Converter.number),
    ((set, frozenset), _Converter.unordered),
    ((datetime, date, time), _Converter.iso),
    ((Decimal, timedelta, PurePath), _Converter.shown),
)


def compact(value: Any) -> str:
    """Return a JSON value as compact text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

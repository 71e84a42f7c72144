"""The JSON of a call: where it ends, and what it says, with everything that JSON leaves open decided strictly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

MAX_DEPTH = 64
BRACKETS = {"{": "}", "[": "]"}


class CallFault(ValueError):  # noqa: N818 - a fault of the model's text, not of the program
    """A call cannot be read.

    Attributes:
        at: The offset, from the start of the JSON, up to which it was readable.
        cut_off: The text ended before the JSON did.
    """

    def __init__(self, problem: str, at: int = 0, *, cut_off: bool = False) -> None:
        super().__init__(problem)
        self.at = at
        self.cut_off = cut_off


def json_end(text: str, start: int) -> int:
    """Return the offset after the JSON object or array at `start`; only its brackets and strings are looked at.

    Raises:
        CallFault: There is none, it does not end, its brackets do not match or it is nested too deeply.
    """
    if text[start : start + 1] not in BRACKETS:
        raise CallFault("no JSON object where the call should be")
    expected: list[str] = []
    at = start
    while at < len(text):
        char = text[at]
        if char == '"':
            at = _string_end(text, at)
            continue
        if char in BRACKETS:
            expected.append(BRACKETS[char])
            if len(expected) > MAX_DEPTH:
                raise CallFault(f"the arguments are nested deeper than {MAX_DEPTH} levels", at - start)
        elif char in "}]":
            if char != expected.pop():
                raise CallFault(f"a '{char}' does not match its opening bracket", at - start)
            if not expected:
                return at + 1
        at += 1
    raise CallFault("the call is cut off before its JSON ends", cut_off=True)


def _string_end(text: str, quote: int) -> int:
    at = quote + 1
    while at < len(text):
        if text[at] == '"':
            return at + 1
        at += 2 if text[at] == "\\" else 1
    raise CallFault("the call is cut off inside a string", cut_off=True)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        double = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # add returns None
        raise CallFault(f"the key '{double}' appears twice")
    return found


def _constant(name: str) -> Any:
    raise CallFault(f"{name} is not JSON")


def _float(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise CallFault(f"the number {digits[:40]} is too large")
    return number


def load(text: str) -> Any:
    """Return the JSON value of a text; raw line breaks in strings are taken as they are.

    Raises:
        CallFault: It is not JSON, has a key twice, a number that is not finite or a lone surrogate.
    """
    try:
        value = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float, strict=False)
        check_unicode(value)
    except CallFault:
        raise
    except json.JSONDecodeError as error:
        raise CallFault(f"the call is not valid JSON: {error.msg} at character {error.pos + 1}", error.pos) from None
    except (ValueError, RecursionError) as error:
        raise CallFault(f"the call is not readable JSON: {error}") from None
    return value


def check_unicode(value: Any) -> None:
    """Refuse a value that cannot be written as UTF-8.

    Raises:
        CallFault: A string holds a lone surrogate.
    """
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise CallFault("a string holds half of a surrogate pair") from None


def read_calls(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Return name and arguments of the call, or of each call of an array.

    Raises:
        CallFault: The JSON is not a call.
    """
    value = load(text)
    return [_call(item) for item in (value if isinstance(value, list) and value else [value])]


def _call(value: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(value, dict):
        raise CallFault("the call is not a JSON object")
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise CallFault("the call has no 'name'")
    if "arguments" not in value:
        raise CallFault("the call has no 'arguments'")
    return name, as_arguments(value["arguments"])


def as_arguments(value: Any) -> dict[str, Any]:
    """Return the arguments of a call.

    Raises:
        CallFault: They are not an object.
    """
    if not isinstance(value, Mapping):
        raise CallFault(f"the arguments are {_kind(value)}, not an object")
    return dict(value)


def _kind(value: Any) -> str:
    kinds = {str: "a string", bool: "a boolean", list: "an array", type(None): "null"}
    return kinds.get(type(value), "a number")

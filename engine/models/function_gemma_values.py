"""Reads FunctionGemma's values: first what is written, then what it means under the tool's schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engine.models.argument_types import ArgumentTypes, Schema, json_type
from engine.models.call_json import MAX_DEPTH, CallFault, check_unicode, load
from engine.models.function_gemma_format import ESCAPE
from engine.models.scanner import is_start, skip_blank

_WHITE = " \t\r\n"
_CUT = "the call is cut off before its arguments end"


class Bare(str):
    """A value written without `<escape>` tokens: a number, true, false or null, if it is well written."""

    __slots__ = ()


def read_members(text: str, brace: int, depth: int = 1) -> tuple[dict[str, Any], int]:
    """Return the members of the object whose brace stands at an offset, and the offset after it.

    A string is a str, a value without `<escape>` tokens a Bare.

    Raises:
        CallFault: It cannot be read; `at` is an offset into the text, outside of every string.
    """
    members: dict[str, Any] = {}

    def one(at: int) -> int:
        key, at = _key(text, at)
        if key in members:
            raise CallFault(f"the key '{key}' appears twice", at)
        members[key], at = _value(text, at, depth)
        return at

    return members, _listing(text, brace, "}", one)


def _items(text: str, bracket: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []

    def one(at: int) -> int:
        item, at = _value(text, at, depth)
        items.append(item)
        return at

    return items, _listing(text, bracket, "]", one)


def _listing(text: str, start: int, close: str, one: Callable[[int], int]) -> int:
    """Read what stands between two brackets, with commas; return the offset after the closing one."""
    at = skip_blank(text, start + 1)
    if text.startswith(close, at):
        return at + 1
    while True:
        at = skip_blank(text, one(at))
        if at >= len(text):
            raise CallFault(_CUT, at, cut_off=True)
        if text[at] == close:
            return at + 1
        if text[at] != ",":
            raise CallFault(f"a '{text[at]}' where ',' or '{close}' should be", at)
        at = skip_blank(text, at + 1)


def _key(text: str, at: int) -> tuple[str, int]:
    """Return a key and the offset after its colon."""
    if text.startswith(ESCAPE, at):
        key, end = _string(text, at)
        end = skip_blank(text, end)
    else:
        end = next((place for place in range(at, len(text)) if text[place] in ":,{}[]<"), len(text))
        key = text[at:end].rstrip(_WHITE)
    if end >= len(text):
        raise CallFault(_CUT, end, cut_off=True)
    if text[end] != ":" or (not key and end == at):
        cut_off = is_start(text, end, ESCAPE)
        raise CallFault("no ':' after the name of an argument", end, cut_off=cut_off)
    return key, end + 1


def _string(text: str, at: int) -> tuple[str, int]:
    start = at + len(ESCAPE)
    end = text.find(ESCAPE, start)
    if end < 0:
        raise CallFault("the call is cut off inside a string", cut_off=True)
    return text[start:end], end + len(ESCAPE)


def _value(text: str, at: int, depth: int) -> tuple[Any, int]:
    at = skip_blank(text, at)
    if text.startswith(ESCAPE, at):
        return _string(text, at)
    if text[at : at + 1] in ("{", "["):
        if depth >= MAX_DEPTH:
            raise CallFault(f"the arguments are nested deeper than {MAX_DEPTH} levels", at)
        return (read_members if text[at] == "{" else _items)(text, at, depth + 1)
    end = next((place for place in range(at, len(text)) if text[place] in ",}]{[<"), len(text))
    if end == len(text):
        raise CallFault(_CUT, end, cut_off=True)
    if not (bare := text[at:end].rstrip(_WHITE)):
        raise CallFault("a value is missing", at, cut_off=is_start(text, end, ESCAPE))
    return Bare(bare), end


def typed_arguments(schema: Schema | None, members: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments, each value as the schema means it.

    A string stays one where the schema allows a string; otherwise it may be JSON of an allowed type. A bare value is
    JSON of an allowed type, or a string where the schema allows one.

    Args:
        schema: The tool's schema; None means that bare values are JSON and all others strings.
        members: What `read_members` found.

    Raises:
        CallFault: A bare value is neither, or a string cannot be written as UTF-8.
    """
    arguments: dict[str, Any] = _Reading(schema).typed(schema, members)
    check_unicode(arguments)
    return arguments


class _Reading:
    """Reads values by their schemas; one of which nothing is said has the schema None."""

    def __init__(self, root: Schema | None) -> None:
        self._types = ArgumentTypes(True if root is None else root)

    def typed(self, schema: Schema | None, value: Any) -> Any:
        if isinstance(value, dict):
            return self._object(schema, value)
        if isinstance(value, list):
            return [self.typed(self._types.item(schema, at), item) for at, item in enumerate(value)]
        allowed = None if schema is None else self._types.allowed(schema)
        return _bare(value, allowed) if isinstance(value, Bare) else _text(value, allowed)

    def _object(self, schema: Schema | None, value: dict[str, Any]) -> dict[str, Any]:
        typed: dict[str, Any] = {}
        for key, item in value.items():
            name = self._name(schema, key)
            if name in typed:
                raise CallFault(f"the key '{name}' appears twice")
            try:
                typed[name] = self.typed(self._types.member(schema, name), item)
            except CallFault as fault:
                raise CallFault(f"in '{name}': {fault}") from None
        return typed

    def _name(self, schema: Schema | None, key: str) -> str:
        """Return the key, without double quotes where only then the schema knows it."""
        plain = key[1:-1]
        if key[:1] != '"' or key != f'"{plain}"' or self._types.member(schema, key) is not None:
            return key
        return key if self._types.member(schema, plain) is None else plain


def _bare(value: Bare, allowed: frozenset[str] | None) -> Any:
    try:
        found = load(value)
    except CallFault:
        if allowed is not None and "string" in allowed:
            return str(value)
        raise
    if allowed is None or json_type(found) in allowed or "string" not in allowed:
        return found
    return str(value)


def _text(value: str, allowed: frozenset[str] | None) -> Any:
    if allowed is None or "string" in allowed:
        return value
    try:
        found = load(value)
    except CallFault:
        return value
    return found if json_type(found) in allowed else value

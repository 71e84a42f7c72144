"""Completion of YAML documents: manifests, cases and engine.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from engine.lsp import things
from engine.lsp.completion.choices import Choice
from engine.lsp.completion.keys import key_choices
from engine.lsp.completion.template import inline_choices
from engine.lsp.outline import Outline, fits, read_outline
from engine.lsp.schemas import docs_of, schemas_at, type_of, values_of
from engine.lsp.view import Request, View
from engine.lsp.yaml_context import Cursor, cursor_at
from engine.manifest import JsonPath
from engine.manifest.schema import Kind

_PLAIN = re.compile(r"[A-Za-z_./][\w ./@-]*")
_RESERVED = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a document: its kind, its outline, the cursor, and the bundle."""

    kind: Kind
    outline: Outline
    cursor: Cursor
    view: View | None


def manifest_choices(request: Request) -> list[Choice]:
    """Return what may stand at a place of a manifest."""
    return inline_choices(request) or _choices(request, "bundle")


def case_choices(request: Request) -> list[Choice]:
    """Return what may stand at a place of a file of cases."""
    return _choices(request, "tests")


def settings_choices(request: Request) -> list[Choice]:
    """Return what may stand at a place of an engine.yaml."""
    return _choices(request, "engine")


def _choices(request: Request, kind: Kind) -> list[Choice]:
    outline = read_outline(request.text)
    cursor = cursor_at(outline, request.offset)
    if cursor.block or _in_comment(outline, request.offset):
        return []
    spot = Spot(kind, outline, cursor, request.view)
    if cursor.role == "key":
        keys = list(_keys(spot, cursor.path))
        return keys or (list(_items(spot)) if cursor.fresh else [])
    values = list(_values(spot))
    # An item of a list that has only begun may become a mapping.
    begun = bool(cursor.path) and isinstance(cursor.path[-1], int)
    return [*values, *(_keys(spot, cursor.path) if begun else ())]


def _in_comment(outline: Outline, offset: int) -> bool:
    line = outline.lines.line_of(offset)
    start = outline.lines.bounds(line)[0]
    before = outline.text[start:offset]
    return before.lstrip().startswith("#") or (" #" in before and before.count('"') % 2 == before.count("'") % 2 == 0)


# -- keys


def _keys(spot: Spot, path: JsonPath) -> Iterator[Choice]:
    cursor = spot.cursor
    present = [key for key in spot.outline.keys(path) if key != cursor.text.strip("'\"")]
    has_value = spot.outline.text[cursor.last : cursor.last + 1] == ":"
    yield from key_choices(spot.kind, path, cursor, present, has_value=has_value, indent=_indent(spot))
    if spot.view is None:
        return
    kind = things.thing_at(things.KEYS[spot.kind], path)
    if kind is not None:
        thing = things.THINGS[kind]
        names = [name for name in thing.names(spot.view, path) if name not in present]
        yield from (_named_key(spot, name, kind, thing.docs(spot.view, path, name), has_value) for name in names)
    elif spot.kind == "tests" and fits(path, ("cases", "*", "expect", "calls", "*", "arguments")):
        tool = spot.outline.value((*path[:-1], "tool"))
        called = tool.text if tool is not None else None
        for name in things.argument_names(spot.view, called):
            if name not in present:
                about = things.argument_docs(spot.view, called, name)
                yield _named_key(spot, name, "argument", about, has_value)


def _named_key(spot: Spot, name: str, detail: str, docs: str | None, has_value: bool) -> Choice:
    insert = name if has_value else f"{name}: "
    return Choice(name, "name", spot.cursor.first, spot.cursor.last, insert, detail=detail, docs=docs)


def _indent(spot: Spot) -> int:
    """Return how much deeper than its line the cursor's mapping is: behind dashes."""
    start, _ = spot.outline.lines.bounds(spot.outline.lines.line_of(spot.cursor.first))
    head = spot.outline.text[start : spot.cursor.first]
    return len(head.lstrip(" "))


def _items(spot: Spot) -> Iterator[Choice]:
    """Offer a new item on an empty line of a list."""
    path, cursor = spot.cursor.path, spot.cursor
    if not any("items" in schema for schema in schemas_at(spot.kind, path)):
        return
    item = (*path, spot.outline.count(path))
    for choice in _values(
        Spot(spot.kind, spot.outline, Cursor("value", item, "", cursor.first, cursor.last, ""), spot.view)
    ):
        yield Choice(f"- {choice.label}", choice.look, choice.first, choice.last, f"- {choice.insert}", choice.snippet)
    yield Choice("- ", "snippet", cursor.first, cursor.last, "- ", detail="item")


# -- values


def _values(spot: Spot) -> Iterator[Choice]:
    kind = things.thing_at(things.VALUES[spot.kind], spot.cursor.path)
    if kind is not None and spot.view is not None:
        thing, path = things.THINGS[kind], spot.cursor.path
        used = _siblings(spot)
        names: Iterable[str] = (name for name in thing.names(spot.view, path) if name not in used)
        yield from (_value(spot, name, kind, thing.docs(spot.view, path, name)) for name in names)
    for schema in schemas_at(spot.kind, spot.cursor.path):
        for value in values_of(schema):
            text = value if isinstance(value, str) else json.dumps(value)
            yield _value(spot, text, type_of(schema), docs_of(str(spot.cursor.path[-1]), schema), raw=text is not value)


def _siblings(spot: Spot) -> set[str]:
    """Return the other items of the list in which the cursor is: a name stands there once."""
    path = spot.cursor.path
    if not path or not isinstance(path[-1], int):
        return set()
    others = (spot.outline.value((*path[:-1], index)) for index in range(spot.outline.count(path[:-1])))
    return {slot.text for slot in others if slot is not None and slot.path != path}


def _value(spot: Spot, text: str, detail: str, docs: str | None, *, raw: bool = False) -> Choice:
    cursor = spot.cursor
    plain = raw or (_PLAIN.fullmatch(text) is not None and text.lower() not in _RESERVED)
    written = text if plain else json.dumps(text, ensure_ascii=False)
    return Choice(text, "value", cursor.first, cursor.last, _spaced(spot, written), detail=detail, docs=docs)


def _spaced(spot: Spot, text: str) -> str:
    """Put a space between a colon or a dash and the value."""
    before = spot.outline.text[spot.cursor.first - 1 : spot.cursor.first]
    return f" {text}" if before in (":", "-", ",") and before else text

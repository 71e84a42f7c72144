"""The symbols of a document: a manifest's keys, a script's inputs and externals, a template's blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from engine.lsp.outline import Outline, Slot, read_outline
from engine.lsp.script_context import declared_externals, declared_inputs
from engine.lsp.view import Request
from engine.manifest import JsonPath

_BLOCK = re.compile(r"\{%[-+]?\s*(?:block|macro)\s+(\w+)")
_DEPTH = 3


@dataclass(frozen=True, slots=True)
class Symbol:
    """One symbol.

    Attributes:
        name: What it is called.
        look: What it is.
        first: Where it begins.
        last: Where it ends.
        name_first: Where its name begins.
        name_last: Where its name ends.
        below: The symbols in it.
    """

    name: str
    look: Literal["key", "item", "input", "external", "block"]
    first: int
    last: int
    name_first: int
    name_last: int
    below: tuple[Symbol, ...] = ()


def symbols(request: Request) -> list[Symbol]:
    """Return the symbols of a document."""
    if request.kind in ("manifest", "cases", "settings"):
        return list(_below(read_outline(request.text), ()))
    if request.kind == "script":
        named = [(name, "input", at) for name, at in declared_inputs(request.text).items()]
        named += [(name, "external", at) for name, at in declared_externals(request.text).items()]
        return [_named(name, look, at) for name, look, at in sorted(named, key=lambda item: item[2])]
    if request.kind == "template":
        return [_named(match[1], "block", match.start(1)) for match in _BLOCK.finditer(request.text)]
    return []


def _named(name: str, look: str, at: int) -> Symbol:
    return Symbol(name, look, at, at + len(name), at, at + len(name))  # type: ignore[arg-type]  # one of the looks


def _below(outline: Outline, path: JsonPath) -> tuple[Symbol, ...]:
    if len(path) >= _DEPTH:
        return ()
    keys = (slot for slot in outline.key_slots(path) if outline.text[slot.last : slot.last + 1] == ":")
    found = [_symbol(outline, (*path, slot.text), slot.text, slot) for slot in keys]
    for index in range(outline.count(path)):
        item = (*path, index)
        head = outline.value((*item, "name")) or outline.value((*item, "path")) or outline.value(item)
        name = head.text if head is not None and head.text else f"[{index}]"
        found.append(_symbol(outline, item, name, None))
    return tuple(found)


def _symbol(outline: Outline, path: JsonPath, name: str, key: Slot | None) -> Symbol:
    """Return a part with what is below; an item is named at its beginning."""
    first, last = outline.extent(path)
    if key is not None:
        first, last = key.first, max(last, key.last)
        return Symbol(name, "key", first, last, key.first, key.last, _below(outline, path))
    return Symbol(name, "item", first, last, first, first, _below(outline, path))

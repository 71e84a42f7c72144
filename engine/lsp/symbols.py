"""The symbols of a document: a manifest's keys, a script's inputs and externals, a template's blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from engine.lsp.outline import Outline, read_outline
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
        return _below(read_outline(request.text), ())
    if request.kind == "script":
        named = [(name, "input", at) for name, at in declared_inputs(request.text).items()]
        named += [(name, "external", at) for name, at in declared_externals(request.text).items()]
        return [_named(name, look, at) for name, look, at in sorted(named, key=lambda item: item[2])]
    if request.kind == "template":
        return [_named(match[1], "block", match.start(1)) for match in _BLOCK.finditer(request.text)]
    return []


def _named(name: str, look: str, at: int) -> Symbol:
    return Symbol(name, look, at, at + len(name), at, at + len(name))  # type: ignore[arg-type]  # one of the looks


def _below(outline: Outline, path: JsonPath) -> list[Symbol]:
    keys = [slot for slot in outline.slots if slot.role == "key" and slot.path == path and slot.text]
    found = [
        _symbol(outline, (*path, slot.text), Symbol(slot.text, "key", slot.first, slot.last, slot.first, slot.last))
        for slot in keys
        if outline.text[slot.last : slot.last + 1] == ":"
    ]
    for index in range(outline.count(path)):
        item = (*path, index)
        inner = [slot for slot in outline.slots if slot.path[: len(item)] == item and slot.text]
        if inner:
            head = inner[0]
            label = outline.value((*item, "name")) or outline.value((*item, "path")) or outline.value(item)
            name = label.text if label is not None and label.text else f"[{index}]"
            found.append(_symbol(outline, item, Symbol(name, "item", head.first, head.last, head.first, head.last)))
    return found


def _symbol(outline: Outline, path: JsonPath, plain: Symbol) -> Symbol:
    """Add what is below, and reach to its end."""
    below = tuple(_below(outline, path)) if len(path) < _DEPTH else ()
    inside = [slot.last for slot in outline.slots if slot.path[: len(path)] == path]
    return replace(plain, last=max([plain.last, *inside]), below=below)

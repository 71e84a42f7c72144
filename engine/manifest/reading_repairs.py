"""Certain repairs of what the reading finds: indentation, plain values that surprise, keys given twice."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from engine.diagnostics import Diagnostic, Edit, Span
from engine.manifest.document import Document, JsonPath
from engine.manifest.judging import Complaint, complaints
from engine.manifest.reader import read_yaml
from engine.manifest.repairs import ODD_BREAKS, at, repairable, replaced
from engine.manifest.schema import Kind

_WORDS = {"yes": True, "on": True, "no": False, "off": False}


def with_repairs(document: Document, kind: Kind) -> Document:
    """Return a document whose reading's findings have a `fix` exactly where one is certain for its kind."""
    if not document.diagnostics:
        return document
    if not document.usable:
        return replace(document, diagnostics=tuple(_unreadable(document, item, kind) for item in document.diagnostics))
    certain = repairable(document)
    places = {document.positions.value(path): path for path in document.tainted - document.odd_keys}
    keys = {document.positions.key(path): path for path in document.odd_keys}
    before = complaints(document.data, kind) if certain else frozenset()

    def settle(item: Diagnostic) -> Diagnostic:
        fix = None
        if certain and item.code == "Y004" and item.fix is not None:
            fix = _surprise(document, item, (places.get(item.span), keys.get(item.span)), (kind, before))
        elif certain and item.code == "Y002":
            fix = _duplicate(document, item)
        return replace(item, fix=fix)

    return replace(document, diagnostics=tuple(map(settle, document.diagnostics)))


def _unreadable(document: Document, item: Diagnostic, kind: Kind) -> Diagnostic:
    from engine.manifest.indentation import reindented

    if item.code != "Y001" or ODD_BREAKS.search(document.text):
        return item
    return replace(item, fix=reindented(document.text, document.file, kind))


def _surprise(
    document: Document,
    item: Diagnostic,
    place: tuple[JsonPath | None, JsonPath | None],
    judge: tuple[Kind, frozenset[Complaint]],
) -> Edit | None:
    """Quote what is text here, spell out what is a boolean or a number here; nothing where both would do."""
    assert item.fix is not None  # noqa: S101 - the caller's condition
    path, key = place
    if key is not None:
        return None if any(bad[0] == key for bad in judge[1]) else item.fix
    if path is None:
        return None
    word = str(at(document.data, path))
    candidates: dict[str, Any] = {item.fix.text: word}
    if word.lower() in _WORDS:
        candidates["true" if _WORDS[word.lower()] else "false"] = _WORDS[word.lower()]
    elif re.fullmatch(r"[1-9][0-9]*(_[0-9]+)+", word):
        candidates[word.replace("_", "")] = int(word.replace("_", ""))
    good = [text for text, value in candidates.items() if _clean(replaced(document, path, value), path, judge)]
    return Edit(item.fix.span, good[0]) if len(good) == 1 else None


def _clean(data: Any, path: JsonPath, judge: tuple[Kind, frozenset[Complaint]]) -> bool:
    kind, before = judge
    after = complaints(data, kind)
    return after <= before and not any(bad[0][: len(path)] == path for bad in after)


def _duplicate(document: Document, item: Diagnostic) -> Edit | None:
    """Remove the line of a key that is given twice with the same value."""
    lines = document.text.splitlines(keepends=True)
    line = lines[item.span.line - 1]
    first = re.search(r"already given in line (\d+)$", item.message)
    original = lines[int(first.group(1)) - 1] if first else ""
    if line.strip() != original.strip() or line[: item.span.column - 1].strip() or "#" in line:
        return None
    if not line.endswith(("\n", "\r")):
        return None
    rest = "".join([*lines[: item.span.line - 1], *lines[item.span.line :]])
    fresh = read_yaml(rest, document.file)
    if fresh.data != document.data or len(fresh.diagnostics) != len(document.diagnostics) - 1:
        return None
    return Edit(Span(document.file, item.span.line, 1, item.span.line + 1, 1), "")


def split_items(document: Document, path: JsonPath) -> tuple[Edit, tuple[str, ...]] | None:
    """Return the edit that makes a list's items of lines that are indented too deep, and the items.

    YAML reads `- a` with `- b` deeper below it as the one text `a - b`.

    Args:
        document: The document.
        path: The item that may be several.
    """
    value = at(document.data, path)
    if not isinstance(value, str) or " - " not in value or not isinstance(path[-1], int) or not repairable(document):
        return None
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", document.text)
    span, parts = document.positions.value(path), value.split(" - ")
    first, last = span.line - 1, span.line + len(parts) - 2
    if span.file != document.file or last >= len(lines):
        return None
    dash = re.match(r"( *)- +(\S.*?)\s*$", lines[first])
    if dash is None or dash[2] != parts[0] or span.column != dash.start(2) + 1:
        return None
    if [line.strip() for line in lines[first + 1 : last + 1]] != [f"- {part}" for part in parts[1:]]:
        return None
    moved = [dash[1] + line.lstrip() for line in lines[first + 1 : last + 1]]
    fresh = read_yaml("".join([*lines[: first + 1], *moved, *lines[last + 1 :]]), document.file)
    items = at(document.data, path[:-1])
    if at(fresh.data, path[:-1]) != [*items[: path[-1]], *parts, *items[path[-1] + 1 :]]:
        return None
    end = len(lines[last].rstrip("\r\n"))
    text = "".join(moved)
    text = text[: len(text) - (len(lines[last]) - end)]
    return Edit(Span(document.file, first + 2, 1, last + 1, end + 1), text), tuple(parts)

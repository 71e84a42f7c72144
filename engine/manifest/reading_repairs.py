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

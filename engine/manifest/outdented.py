"""Keys that stand beside the key that they belong below."""

from __future__ import annotations

import re
from typing import Any

from engine.diagnostics import Edit, Span
from engine.manifest.document import Document, JsonPath
from engine.manifest.reader import read_yaml


def indented_below(document: Document, path: JsonPath, strangers: set[str]) -> tuple[Edit, Any] | None:
    """Return the edit that indents the keys behind an empty one so that they are its own, and the data after it.

    Args:
        document: The document.
        path: A key without a value.
        strangers: The keys beside it that do not exist there; those right behind it are moved.
    """
    parent: Any = document.data
    for step in path[:-1]:
        parent = parent[step]
    siblings = list(parent)
    behind = siblings[siblings.index(path[-1]) + 1 :]
    count = next((number for number, key in enumerate(behind) if key not in strangers), len(behind))
    if count == 0 or document.parts:
        return None
    own = document.positions.key(path)
    first = document.positions.key((*path[:-1], behind[0]))
    last = document.positions.key((*path[:-1], behind[count])).line if count < len(behind) else None
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", document.text)
    end = last - 1 if last is not None else len(lines)
    while end > first.line and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    if first.column != own.column or first.line <= own.line or lines[first.line - 1][: first.column - 1].strip():
        return None
    moved = ["  " + line if line.strip() else line for line in lines[first.line - 1 : end]]
    fresh = read_yaml("".join([*lines[: first.line - 1], *moved, *lines[end:]]), document.file)
    if not fresh.usable or len(fresh.diagnostics) != len(document.diagnostics):
        return None
    width = len(lines[end - 1].rstrip("\r\n"))
    text = "".join(moved)
    text = text[: len(text) - (len(lines[end - 1]) - width)]
    return Edit(Span(document.file, first.line, 1, end, width + 1), text), fresh.data

"""A change as lines for a page: numbered, and with what changed inside a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.report.text import clip, plain
from engine.workspace import Change

_HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
_LONGEST = 2000  # characters of a line


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line.

    Attributes:
        kind: hunk, same, old, new or note.
        old: Its number before; 0 for none.
        new: Its number after; 0 for none.
        before: Its beginning, which the other side has too.
        marked: What the other side has otherwise.
        after: Its end, which the other side has too.
    """

    kind: str
    old: int
    new: int
    before: str
    marked: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Diff:
    """A change of a file.

    Attributes:
        lines: Its lines.
        left_out: Lines that are not shown.
    """

    lines: tuple[DiffLine, ...]
    left_out: int


def diff_of(change: Change, limit: int = 400) -> Diff:
    """Return a change as lines.

    Args:
        change: The change.
        limit: Lines that are shown.
    """
    lines = change.diff().split("\n")
    if lines[-1] == "":
        lines.pop()
    body = [line for line in lines if not line.startswith(("diff --git ", "--- ", "+++ ", "new file", "deleted file"))]
    if change.binary:
        return Diff((DiffLine("note", 0, 0, "a binary file"),), 0)
    return Diff(tuple(_compared(list(_numbered(body[:limit])))), max(0, len(body) - limit))


def _numbered(lines: list[str]) -> Iterator[DiffLine]:
    old = new = 0
    for line in lines:
        hunk = _HUNK.match(line)
        text = clip(plain(line[1:].removesuffix("\r")), _LONGEST)
        if hunk:
            old, new = int(hunk[1]), int(hunk[2])
            yield DiffLine("hunk", 0, 0, line)
        elif line.startswith("\\"):
            yield DiffLine("note", 0, 0, "no line end at the end of the file")
        elif line.startswith("-"):
            yield DiffLine("old", old, 0, text)
            old += 1
        elif line.startswith("+"):
            yield DiffLine("new", 0, new, text)
            new += 1
        else:
            yield DiffLine("same", old, new, text)
            old, new = old + 1, new + 1


def _compared(lines: list[DiffLine]) -> Iterator[DiffLine]:
    """Mark what differs inside lines, where as many lines come as go."""
    place = 0
    while place < len(lines):
        olds = _run_of("old", lines, place)
        news = _run_of("new", lines, place + len(olds))
        if olds and len(olds) == len(news):
            pairs = [_marked(old, new) for old, new in zip(olds, news, strict=True)]
            yield from (pair[0] for pair in pairs)
            yield from (pair[1] for pair in pairs)
            place += 2 * len(olds)
        else:
            yield lines[place]
            place += 1


def _run_of(kind: str, lines: list[DiffLine], start: int) -> list[DiffLine]:
    end = start
    while end < len(lines) and lines[end].kind == kind:
        end += 1
    return lines[start:end]


def _marked(old: DiffLine, new: DiffLine) -> tuple[DiffLine, DiffLine]:
    """Split two lines where they differ; lines that have little in common stay whole."""
    one, two = old.before, new.before
    shorter = min(len(one), len(two))
    head = next((place for place in range(shorter) if one[place] != two[place]), shorter)
    tail = next((place for place in range(shorter - head) if one[-1 - place] != two[-1 - place]), shorter - head)
    if (head + tail) * 3 < shorter or not shorter:
        return old, new
    return _split(old, head, tail), _split(new, head, tail)


def _split(line: DiffLine, head: int, tail: int) -> DiffLine:
    text = line.before
    end = len(text) - tail
    return DiffLine(line.kind, line.old, line.new, text[:head], text[head:end], text[end:])

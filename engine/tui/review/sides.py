"""A change as rows of line numbers: what stood on the left, what stands on the right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

from engine.workspace import Change
from engine.workspace.lines import Edit, split_lines

CONTEXT = 3


class Row(NamedTuple):
    """One row.

    Attributes:
        kind: `same`, `changed`, or `fold`: some lines that are not shown.
        old: The line's place in the old file, from 0; None where it has none. For a fold, how many lines.
        new: Its place in the new file.
    """

    kind: Literal["same", "changed", "fold"]
    old: int | None
    new: int | None


def rows_of(change: Change) -> list[Row]:
    """Return what changes, with a few lines around it."""
    edits = change.edits
    length = len(split_lines(change.before or b""))
    rows: list[Row] = []
    position = shift = 0
    for edit in edits:
        rows += _between(position, edit.start, shift, first=position == 0)
        rows += _changed(edit, shift)
        position, shift = edit.end, shift + len(edit.lines) - (edit.end - edit.start)
    return [*rows, *_between(position, length, shift, last=True)] if edits else rows


def _between(start: int, end: int, shift: int, *, first: bool = False, last: bool = False) -> Iterator[Row]:
    """Yield the lines between two edits: all, or those near the edits."""
    head = start if first else min(end, start + CONTEXT)
    tail = end if last else max(head, end - CONTEXT)
    yield from (Row("same", line, line + shift) for line in range(start, head))
    if tail - head > 1:
        yield Row("fold", tail - head, None)
    else:
        tail = head
    yield from (Row("same", line, line + shift) for line in range(tail, end))


def _changed(edit: Edit, shift: int) -> Sequence[Row]:
    old = range(edit.start, edit.end)
    new = range(edit.start + shift, edit.start + shift + len(edit.lines))
    return [Row("changed", one, other) for one, other in zip_longest(old, new)]

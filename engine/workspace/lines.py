r"""Differences of files as edits of whole lines, and their union: the basis of diffs, line endings and merges.

A line ends with its `\n`; a last line without one is a line of its own kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise


@dataclass(frozen=True, slots=True, order=True)
class Edit:
    """The lines `[start, end)` of the old file become `lines`; an insertion has `start == end`."""

    start: int
    end: int
    lines: tuple[bytes, ...]


def split_lines(raw: bytes) -> list[bytes]:
    r"""Split after each `\n`; nothing else ends a line."""
    lines = [line + b"\n" for line in raw.split(b"\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def line_edits(old: Sequence[bytes], new: Sequence[bytes]) -> list[Edit]:
    """Return the edits that turn `old` into `new`, in order, with unchanged lines between them."""
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    middle_old, middle_new = old[head : len(old) - tail], new[head : len(new) - tail]
    matcher = SequenceMatcher(None, middle_old, middle_new, autojunk=len(middle_old) > 20_000)
    return [
        Edit(head + i1, head + i2, tuple(middle_new[j1:j2]))
        for tag, i1, i2, j1, j2 in matcher.get_opcodes()
        if tag != "equal"
    ]


def collision(edits: Iterable[Edit]) -> Edit | None:
    """Return an edit that cannot stand beside the one before it, or None.

    Two edits can when their ranges don't overlap and they are not two insertions at one place; the same edit twice is
    one edit.
    """
    ordered = sorted(set(edits))
    for before, after in pairwise(ordered):
        if after.start < before.end or (before.start, before.end) == (after.start, after.end):
            return after
    return None


def apply_edits(old: Sequence[bytes], edits: Iterable[Edit]) -> bytes:
    """Return the old lines with all edits made; the edits must not collide. Their order does not matter."""
    parts: list[bytes] = []
    position = 0
    for edit in sorted(set(edits)):
        parts.extend(old[position : edit.start])
        parts.extend(edit.lines)
        position = edit.end
    parts.extend(old[position:])
    return b"".join(parts)


def _common(left: Sequence[bytes], right: Sequence[bytes]) -> int:
    """Count the equal lines at the beginning."""
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count

"""A change as edits of bytes, each known to belong to the task's node or not: the basis of merging by node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from engine.workspace.change import Change
from engine.workspace.lines import collision, line_edits, split_lines

Span = tuple[int, int]
_INSIDE = (1, 0)


@dataclass(frozen=True, slots=True, order=True)
class Piece:
    """The bytes `[start, end)` of the old file become `data`.

    Attributes:
        start: The first byte that goes.
        end: The byte behind the last one.
        side: Which of several edits at one place comes first: what ends a node comes before what stands between nodes,
            and that before what begins one.
        data: The new bytes.
    """

    start: int
    end: int
    side: tuple[int, int]
    data: bytes


def own_span(change: Change) -> Span | None:
    """Return the span of the task's node when the change touches nothing else, or None."""
    return change.once("own span", lambda: _own_span(change))


def _own_span(change: Change) -> Span | None:
    before, after, span = change.before, change.after, change.span
    if before is None or after is None or span is None:
        return None
    start, rest = span[0], len(before) - span[1]
    inside = 0 <= start <= span[1] <= len(before) and len(after) >= start + rest
    same = inside and before[:start] == after[:start] and before.endswith(after[len(after) - rest :] if rest else b"")
    return span if same else None


def pieces(change: Change) -> list[Piece]:
    """Return the edits of a change; both of its sides must exist."""
    return change.once("pieces", lambda: _pieces(change))


def _pieces(change: Change) -> list[Piece]:
    before, after = change.before or b"", change.after or b""
    span = own_span(change)
    start, end = span or (0, len(before))
    old = split_lines(before[start:end])
    new = split_lines(after[start : len(after) - (len(before) - end)])
    offsets = [start]
    for line in old:
        offsets.append(offsets[-1] + len(line))
    return [
        Piece(offsets[edit.start], offsets[edit.end], _side(offsets[edit.start], span), b"".join(edit.lines))
        for edit in line_edits(old, new)
    ]


def compatible(one: Change, other: Change) -> bool:
    """Whether two changes of one content can stand side by side.

    They can when each changed only its own node, and neither the other's; else when their lines don't collide.
    """
    spans = own_span(one), own_span(other)
    if spans[0] is not None and spans[1] is not None:
        if spans[0][1] <= spans[1][0] or spans[1][1] <= spans[0][0]:
            return True
        if _around(one, spans[1]) or _around(other, spans[0]):
            return True
    return collision([*one.edits, *other.edits]) is None


def fits(all_pieces: Iterable[Piece]) -> bool:
    """Whether no two pieces overlap, nor are two different insertions of one kind at one place."""
    for before, after in pairwise(sorted(set(all_pieces))):
        if after.start < before.end or (before.start, before.end, before.side) == (after.start, after.end, after.side):
            return False
    return True


def compose(before: bytes, all_pieces: Iterable[Piece]) -> bytes:
    """Return the old bytes with all pieces in place; they must fit. Their order does not matter."""
    parts: list[bytes] = []
    position = 0
    for piece in sorted(set(all_pieces)):
        parts += (before[position : piece.start], piece.data)
        position = piece.end
    parts.append(before[position:])
    return b"".join(parts)


def _around(outer: Change, inner: Span) -> bool:
    """Whether a change of a node leaves alone a smaller node that stands in it."""
    span = own_span(outer)
    if span is None or span == inner or not (span[0] <= inner[0] and inner[1] <= span[1]):
        return False
    return all(piece.end <= inner[0] or inner[1] <= piece.start for piece in pieces(outer))


def _side(place: int, span: Sequence[int] | None) -> tuple[int, int]:
    if span is None or span[0] == span[1]:
        return _INSIDE
    size = span[1] - span[0]
    if place == span[1]:
        return 0, size
    return (2, -size) if place == span[0] else _INSIDE

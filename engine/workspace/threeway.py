"""The merge of two edits of one file (diff3 on whole lines), clean in the cases in which `git merge-file` is.

Algorithm: "A Formal Investigation of Diff3" (Khanna, Kunal, Pierce 2007): stretches that only one side changed are
taken; stretches that touch or overlap are a conflict unless both sides came to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.workspace.lines import Edit, apply_edits, line_edits, split_lines

Lines = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Some lines in the three files.

    Attributes:
        start: The first line in the base, from 0.
        base: The lines there.
        live: What the file has now in their place.
        task: What the task has in their place.
        conflict: Whether both changed them, and not to the same.
    """

    start: int
    base: Lines
    live: Lines
    task: Lines
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to.

    Attributes:
        content: The merged file; None where there is a conflict.
        stretches: The files in stretches, in order; none where a file is missing or not text.
        why: Why it did not come clean, in a few words; empty when it did.
    """

    content: bytes | None
    stretches: tuple[Stretch, ...] = ()
    why: str = ""

    @property
    def conflicts(self) -> list[Stretch]:
        """The stretches that two sides changed."""
        return [stretch for stretch in self.stretches if stretch.conflict]


def merge(base: bytes | None, live: bytes | None, task: bytes | None) -> Merged:
    """Merge what became of a file with what a task made of it.

    Args:
        base: The file that the task read; None when there was none.
        live: The file now.
        task: What the task offers.
    """
    if base is None or live is None or task is None:
        return Merged(None, why="a file that was made or deleted cannot be merged")
    if any(b"\0" in side for side in (base, live, task)):
        return Merged(None, why="it is not a text file")
    stretches = tuple(_stretches(split_lines(base), split_lines(live), split_lines(task)))
    found = [stretch for stretch in stretches if stretch.conflict]
    if found:
        return Merged(None, stretches, f"{places(found)} changed on both sides")
    return Merged(b"".join(line for one in stretches for line in _outcome(one)), stretches)


def places(stretches: Sequence[Stretch]) -> str:
    """Return where stretches are in the base, for people: `line 3`, `lines 3-5, 9`."""
    spans = [(stretch.start + 1, stretch.start + max(1, len(stretch.base))) for stretch in stretches]
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans[:5])
    more = ", …" if len(spans) > 5 else ""
    single = len(spans) == 1 and spans[0][0] == spans[0][1]
    return f"{'line' if single else 'lines'} {shown}{more}"


def changed_lines(old: bytes, new: bytes) -> str:
    """Return which lines of the old file are others in the new one, for people."""
    lines = split_lines(old)
    edits = line_edits(lines, split_lines(new))
    return places([Stretch(edit.start, tuple(lines[edit.start : edit.end]), edit.lines, ()) for edit in edits])


def _stretches(base: Sequence[bytes], live: Sequence[bytes], task: Sequence[bytes]) -> Iterator[Stretch]:
    position = 0
    for start, end, mine, theirs in _groups(line_edits(base, live), line_edits(base, task)):
        if start > position:
            yield _same(position, base[position:start])
        old = tuple(base[start:end])
        live_now, task_now = _rewritten(base, start, end, mine), _rewritten(base, start, end, theirs)
        yield Stretch(start, old, live_now, task_now, bool(mine and theirs) and live_now != task_now)
        position = end
    if position < len(base):
        yield _same(position, base[position:])


def _same(start: int, lines: Sequence[bytes]) -> Stretch:
    return Stretch(start, tuple(lines), tuple(lines), tuple(lines))


def _groups(mine: list[Edit], theirs: list[Edit]) -> Iterator[tuple[int, int, list[Edit], list[Edit]]]:
    """Yield ranges of the base in which edits of the two sides touch, with the edits of each side."""
    both = sorted([(edit.start, edit.end, 0, edit) for edit in mine] + [(e.start, e.end, 1, e) for e in theirs])
    sides: tuple[list[Edit], list[Edit]] = ([], [])
    start = end = 0
    for first, last, side, edit in both:
        if (sides[0] or sides[1]) and first > end:
            yield start, end, *sides
            sides = ([], [])
        if not (sides[0] or sides[1]):
            start, end = first, last
        end = max(end, last)
        sides[side].append(edit)
    if sides[0] or sides[1]:
        yield start, end, *sides


def _rewritten(base: Sequence[bytes], start: int, end: int, edits: list[Edit]) -> Lines:
    moved = [Edit(edit.start - start, edit.end - start, edit.lines) for edit in edits]
    return tuple(split_lines(apply_edits(base[start:end], moved)))


def _outcome(stretch: Stretch) -> Lines:
    return stretch.task if stretch.live == stretch.base else stretch.live

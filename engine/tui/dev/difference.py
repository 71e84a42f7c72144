"""What became of a text since the last time: its lines with marks, and unchanged stretches folded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from engine.workspace.lines import line_edits

Mark = Literal[" ", "+", "-", "…"]
_CONTEXT = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its mark: kept, new, gone; `…` stands for kept lines that are left out."""

    mark: Mark
    text: str

    def __str__(self) -> str:
        return f"{self.mark} {self.text}".rstrip()


@dataclass(frozen=True, slots=True)
class Difference:
    """A text beside the one before it.

    Attributes:
        lines: All lines of both, in order.
        first: Whether there was nothing before to compare it with; all lines are then kept ones.
    """

    lines: tuple[Line, ...] = ()
    first: bool = True

    @property
    def added(self) -> int:
        """Number of new lines."""
        return sum(line.mark == "+" for line in self.lines)

    @property
    def removed(self) -> int:
        """Number of lines that are gone."""
        return sum(line.mark == "-" for line in self.lines)

    @property
    def changed(self) -> bool:
        """Whether there was a text before, and it was another."""
        return bool(self.added or self.removed)

    @property
    def counts(self) -> str:
        """The difference in a word or two."""
        return "" if self.first else f"+{self.added} -{self.removed}" if self.changed else "unchanged"

    def folded(self) -> tuple[Line, ...]:
        """Return the lines with long unchanged stretches left out; all of them if nothing changed."""
        if not self.changed:
            return self.lines
        near = {
            number + offset
            for number, line in enumerate(self.lines)
            if line.mark != " "
            for offset in range(-_CONTEXT, _CONTEXT + 1)
        }
        return tuple(_fold(self.lines, near))


def _fold(lines: tuple[Line, ...], near: set[int]) -> Iterator[Line]:
    hidden: list[Line] = []
    for number, line in enumerate(lines):
        if number not in near:
            hidden.append(line)
            continue
        yield from _placeholder(hidden)
        hidden = []
        yield line
    yield from _placeholder(hidden)


def _placeholder(hidden: list[Line]) -> Iterator[Line]:
    if len(hidden) == 1:
        yield hidden[0]
    elif hidden:
        yield Line("…", f"{len(hidden)} lines as before")


def compare(before: str | None, after: str) -> Difference:
    """Return the difference of two texts by lines; without a text before, all lines are kept ones."""
    new = after.split("\n") if after else []
    if before is None:
        return Difference(tuple(Line(" ", text) for text in new))
    old = before.split("\n") if before else []
    return Difference(tuple(_marked(old, new)), first=False)


def _marked(old: list[str], new: list[str]) -> Iterator[Line]:
    position = 0
    for edit in line_edits([_raw(text) for text in old], [_raw(text) for text in new]):
        yield from (Line(" ", text) for text in old[position : edit.start])
        yield from (Line("-", text) for text in old[edit.start : edit.end])
        yield from (Line("+", line.decode("utf-8", "surrogatepass")) for line in edit.lines)
        position = edit.end
    yield from (Line(" ", text) for text in old[position:])


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

"""Places in a text: lines as the protocol counts them, columns in the unit that client and server agreed on."""

from __future__ import annotations

import bisect
import re
from typing import Literal

from engine.diagnostics import Span

Encoding = Literal["utf-8", "utf-16", "utf-32"]
Place = tuple[int, int]
"""Line and column, both from 0; the column in units of the encoding."""

_BREAK = re.compile(r"\r\n|\n|\r")
_WORD = re.compile(r"\w[\w.-]*|\S")


class Lines:
    """A text by lines: offsets count characters from 0, lines end with a line feed, a carriage return or both."""

    def __init__(self, text: str) -> None:
        self.text = text
        breaks = list(_BREAK.finditer(text))
        self._starts = [0, *(match.end() for match in breaks)]
        self._ends = [*(match.start() for match in breaks), len(text)]

    def __len__(self) -> int:
        return len(self._starts)

    def bounds(self, line: int) -> tuple[int, int]:
        """Return where a line begins and ends, without its line end; the last line for one that does not exist."""
        line = min(max(line, 0), len(self._starts) - 1)
        return self._starts[line], self._ends[line]

    def line(self, line: int) -> str:
        """Return the text of a line, without its line end."""
        start, end = self.bounds(line)
        return self.text[start:end]

    def line_of(self, offset: int) -> int:
        """Return the line of an offset."""
        return max(bisect.bisect_right(self._starts, offset) - 1, 0)

    def offset(self, place: Place, encoding: Encoding) -> int:
        """Return the offset of a place; one behind the line's end, or the text's, is moved to it."""
        line, units = place
        if line >= len(self._starts):
            return len(self.text)
        start, end = self.bounds(line)
        return start + _characters(self.text[start:end], units, encoding)

    def place(self, offset: int, encoding: Encoding) -> Place:
        """Return the place of an offset."""
        offset = min(max(offset, 0), len(self.text))
        line = self.line_of(offset)
        start, end = self.bounds(line)
        return line, width(self.text[start : min(offset, end)], encoding)

    def span(self, span: Span, encoding: Encoding, *, widen: bool = True) -> tuple[Place, Place]:
        """Return the range of a span; an empty one is widened to the word there, so that it can be seen.

        Args:
            span: Lines and columns from 1, columns in characters.
            encoding: The unit of the result.
            widen: False keeps an empty range, as an insertion needs it.
        """
        start = self._offset(span.line, span.column)
        end = max(self._offset(span.end_line, span.end_column), start)
        if widen and end == start:
            line_end = self.bounds(self.line_of(start))[1]
            word = _WORD.match(self.text, start, line_end)
            end = word.end() if word else min(start + 1, line_end)
        return self.place(start, encoding), self.place(end, encoding)

    def _offset(self, line: int, column: int) -> int:
        start, end = self.bounds(line - 1)
        return min(start + max(column - 1, 0), end)


def width(text: str, encoding: Encoding) -> int:
    """Return how many units a text takes."""
    if encoding == "utf-32" or text.isascii():
        return len(text)
    if encoding == "utf-16":
        return len(text) + sum(character > "\uffff" for character in text)
    return len(text.encode("utf-8", "surrogatepass"))


def _characters(line: str, units: int, encoding: Encoding) -> int:
    """Return how many characters of a line take this many units; half a character counts as none."""
    if encoding == "utf-32" or line.isascii():
        return min(max(units, 0), len(line))
    taken = 0
    for index, character in enumerate(line):
        taken += width(character, encoding)
        if taken > units:
            return index
    return len(line)

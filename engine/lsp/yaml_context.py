"""What the cursor of a YAML document is in: which mapping's key, or which path's value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.lsp.outline import Outline, Slot, closed
from engine.manifest import JsonPath


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where the cursor is.

    Attributes:
        role: Whether a key or a value belongs here.
        path: The value's path; for a key that of the mapping it belongs to.
        text: What stands here, from its beginning to its end.
        first: Where that begins.
        last: Where it ends.
        before: The part of the text in front of the cursor.
        flow: Whether it is inside of brackets.
        fresh: Whether the line is empty: the list or mapping is known by the indentation alone.
        block: Whether it is in a block of text.
        column: Column of the first character, in characters from 0.
    """

    role: Literal["key", "value"]
    path: JsonPath
    text: str
    first: int
    last: int
    before: str
    flow: bool = False
    fresh: bool = False
    block: bool = False
    column: int = 0


def cursor_at(outline: Outline, offset: int) -> Cursor:
    """Return what a cursor is in."""
    line = outline.lines.line_of(offset)
    start, end = outline.lines.bounds(line)
    slot = _innermost(outline, offset)
    if not outline.text[start:end].strip() and not (slot is not None and (slot.flow or slot.end > end)):
        return _fresh(outline, line, offset)
    if slot is None:  # behind a bracket, in a comment
        return Cursor("value", (), "", offset, offset, "")
    first, last = slot.first, slot.last
    if not first <= offset <= last:  # in the white space around it
        first = last = offset
    before = outline.text[first:offset]
    text = outline.text[first:last]
    return Cursor(slot.role, slot.path, text, first, last, before, slot.flow, False, slot.block, first - start)


def _innermost(outline: Outline, offset: int) -> Slot | None:
    found: Slot | None = None
    for slot in outline.slots:
        if slot.start > offset:
            break
        if offset <= slot.end and not _is_closed(outline, slot, offset):
            found = slot
    return found


def _is_closed(outline: Outline, slot: Slot, offset: int) -> bool:
    """Whether the cursor is behind the bracket that ends a mapping or a list."""
    ends = outline.text[slot.first : slot.first + 1] + outline.text[max(slot.last - 1, 0) : slot.last]
    return slot.role == "value" and offset == slot.last and ends in ("{}", "[]")


def _fresh(outline: Outline, line: int, offset: int) -> Cursor:
    start = outline.lines.bounds(line)[0]
    column = offset - start
    frames = closed(outline.open_at[line] if line < len(outline.open_at) else (), column)
    path = frames[-1].path if frames else ()
    return Cursor("key", path, "", offset, offset, "", fresh=True, column=column)

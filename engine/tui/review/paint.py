"""Paints changes: syntax coloured, in one column or side by side; texts of others are made harmless first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text

from engine.tui.review.sides import Row, rows_of
from engine.tui.text import harmless
from engine.workspace import Change

SIDE_BY_SIDE = 110
"""Columns from which both sides fit."""

_GONE, _NEW = Style(bgcolor="#442222"), Style(bgcolor="#1d3a24")
_LARGEST = 200_000  # bytes; colouring more would take longer than a person waits
_MOST_ROWS = 3000
_LONGEST = 2000


def painted_change(change: Change, width: int, *, beside: bool = True) -> Text:
    """Return a change for a pane.

    Args:
        change: The change.
        width: Columns of the pane.
        beside: Whether both sides may stand beside each other where there is room.
    """
    if change.binary:
        return Text("a binary file", "dim")
    old, new = _lines(change.path, change.before), _lines(change.path, change.after)
    rows = rows_of(change)
    shown = rows[:_MOST_ROWS]
    if beside and width >= SIDE_BY_SIDE and change.kind == "edit":
        lines = _beside(shown, old, new, width)
    else:
        lines = _below(shown, old, new)
    text = Text("\n").join(lines)
    if len(rows) > len(shown):
        text.append(f"\n… {len(rows) - len(shown)} more lines", "dim italic")
    return text if rows else Text("no line differs", "dim")


def painted_diff(diff: str) -> Text:
    """Return a diff, or three sides of a conflict, with colours by its marks."""
    styles = {"+": "green", "-": "red", "@": "cyan", "#": "bold", "<": "yellow", "|": "yellow", "=": "yellow"}
    lines = harmless(diff).split("\n")
    text = Text()
    for line in lines[:_MOST_ROWS]:
        text.append(f"{line[:_LONGEST]}\n", styles.get(line[:1], "yellow" if line.startswith(">>>>>>>") else ""))
    text.rstrip()
    return text


@lru_cache(maxsize=8)
def _lines(path: str, content: bytes | None) -> Sequence[Text]:
    """Return the lines of a file, coloured where its language is known."""
    source = harmless((content or b"").decode("utf-8", "replace"))
    plain = [Text(line[:_LONGEST]) for line in source.split("\n")]
    if len(source) > _LARGEST:
        return plain
    coloured = Syntax("", Syntax.guess_lexer(path), theme="ansi_dark").highlight(source).split("\n", allow_blank=True)
    if len(coloured) < len(plain) or any(one.plain != other.plain for one, other in zip(plain, coloured, strict=False)):
        return plain  # a lexer that changes the text is not to be trusted with it
    return list(coloured)


def _below(rows: Sequence[Row], old: Sequence[Text], new: Sequence[Text]) -> Iterator[Text]:
    """Yield rows in one column; of each stretch first what goes, then what comes."""
    waiting: list[Text] = []
    for row in rows:
        if row.kind == "changed":
            if row.old is not None:
                yield _line("-", row.old, None, old, _GONE)
            if row.new is not None:
                waiting.append(_line("+", None, row.new, new, _NEW))
            continue
        yield from waiting
        waiting = []
        yield _fold(row) if row.kind == "fold" else _line(" ", row.old, row.new, new, None)
    yield from waiting


def _line(mark: str, old: int | None, new: int | None, lines: Sequence[Text], style: Style | None) -> Text:
    text = Text(f"{_number(old)} {_number(new)} {mark} ", "dim")
    place = new if new is not None else old
    text.append_text(lines[place] if place is not None else Text())
    if style is not None:
        text.stylize(style)
    return text


def _beside(rows: Sequence[Row], old: Sequence[Text], new: Sequence[Text], width: int) -> Iterator[Text]:
    column = (width - 3) // 2
    for row in rows:
        if row.kind == "fold":
            yield _fold(row)
            continue
        changed = row.kind == "changed"
        left = _half("-" if changed else " ", row.old, old, column, _GONE if changed else None)
        right = _half("+" if changed else " ", row.new, new, column, _NEW if changed else None)
        yield Text.assemble(left, (" │ ", "dim"), right)


def _half(mark: str, place: int | None, lines: Sequence[Text], width: int, style: Style | None) -> Text:
    if place is None:
        return Text(" " * width)
    text = Text(f"{_number(place)} {mark} ", "dim")
    text.append_text(lines[place])
    text.truncate(width, overflow="ellipsis", pad=True)
    if style is not None:
        text.stylize(style)
    return text


def _fold(row: Row) -> Text:
    return Text(f"      ⋯ {row.old} lines", "dim italic")


def _number(place: int | None) -> str:
    return "    " if place is None else f"{place + 1:4}"

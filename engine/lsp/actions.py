"""Code actions: the repairs that findings carry, and their pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from engine.bundle.fixing import apply_edits
from engine.diagnostics import CODES, Diagnostic, Edit
from engine.lsp.positions import Encoding, Lines, Place

FIX_ALL = "source.fixAll.engine"
EXPLAIN = "engine.explain"


@dataclass(frozen=True, slots=True)
class Action:
    """Something that the editor offers.

    Attributes:
        title: What the menu shows.
        kind: The protocol's kind.
        edits: The edits; none for an action that only shows something.
        solves: The findings that it is about.
        explains: The code whose page it shows.
    """

    title: str
    kind: str
    edits: tuple[Edit, ...] = ()
    solves: tuple[Diagnostic, ...] = ()
    explains: str | None = None


def actions(
    text: str, found: Sequence[Diagnostic], chosen: Sequence[Diagnostic], only: Sequence[str] | None
) -> list[Action]:
    """Return what is offered.

    Args:
        text: The file's text, in which the findings are.
        found: All findings of the file.
        chosen: Those at the place that the author is at.
        only: The kinds that the client asks for; None for all.
    """
    every = [*_fixes(chosen), *_fix_all(text, found), *_pages(chosen)]
    return [action for action in every if only is None or _asked(action.kind, only)]


def _asked(kind: str, only: Sequence[str]) -> bool:
    return any(not want or kind == want or kind.startswith(f"{want}.") for want in only)


def _fixes(chosen: Sequence[Diagnostic]) -> Iterator[Action]:
    for item in chosen:
        if item.fix is not None:
            yield Action(_title(item.fix), "quickfix", (item.fix,), (item,))


def _title(fix: Edit) -> str:
    text = " ".join(fix.text.split())
    if not text:
        return "Remove this"
    return f"Write {text}" if len(text) <= 40 else f"Write {text[:39]}…"


def _fix_all(text: str, found: Sequence[Diagnostic]) -> Iterator[Action]:
    edits = apply_edits(text, [item.fix for item in found if item.fix is not None])[1]
    if edits:
        title = "Fix everything that is certain in this file"
        yield Action(title, FIX_ALL, edits, tuple(item for item in found if item.fix in edits))


def _pages(chosen: Sequence[Diagnostic]) -> Iterator[Action]:
    for code in dict.fromkeys(item.code for item in chosen):
        yield Action(f"Explain {code} ({CODES[code].name})", "quickfix", explains=code)


def touching(
    text: str, found: Sequence[Diagnostic], where: tuple[Place, Place], encoding: Encoding
) -> list[Diagnostic]:
    """Return the findings whose range touches another range."""
    lines = Lines(text)
    start, end = where
    ranges = ((item, lines.span(item.span, encoding)) for item in found)
    return [item for item, (first, last) in ranges if first <= end and start <= last]

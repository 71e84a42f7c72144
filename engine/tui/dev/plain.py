"""The live preview as lines: for pipes, CI and terminals that cannot do more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TextIO

from engine.diagnostics import render
from engine.tui.dev.difference import Difference
from engine.tui.dev.events import (
    Cancelled,
    Cause,
    Decided,
    DevEvent,
    Failed,
    Finished,
    NodeMissing,
    NotRun,
    Piece,
    Pinned,
    PromptRendered,
    Replied,
    Said,
    Started,
    ToolRan,
    TurnStarted,
    Validated,
)
from engine.tui.dev.loop import DevLoop
from engine.tui.dev.words import findings_words, tool_lines, turns_words
from engine.tui.signals import ending
from engine.tui.text import harmless

CAUSES: dict[Cause, str] = {
    "start": "the start",
    "bundle": "the bundle was saved",
    "target": "the target was saved",
    "again": "asked for again",
    "node": "another node",
}
_STYLES = {"+": "32", "-": "31", "…": "2", "head": "1", "section": "36", "bad": "31"}


@dataclass(slots=True)
class PlainView:
    """Prints each event as lines; what a model or a file says is made harmless.

    Attributes:
        out: Where to.
        color: Whether with ANSI colours.
        clock: Gives the time of day.
        clean: Whether the bundle in the last validation was without errors.
        done: The last preview's end, once there is one.
    """

    out: TextIO = field(default_factory=lambda: sys.stdout)
    color: bool = False
    clock: Callable[[], datetime] = datetime.now
    clean: bool = False
    done: DevEvent | None = None
    _open_line: bool = False

    @property
    def good(self) -> bool:
        """Whether the bundle is without errors, and the last preview came to a good end."""
        finished = isinstance(self.done, Finished) and self.done.outcome == "finished"
        return self.clean and (finished or isinstance(self.done, NotRun))

    def __call__(self, event: DevEvent) -> None:
        """Print an event."""
        match event:
            case Validated():
                self._validated(event)
            case Started():
                self.done = None
                self._print(
                    f"\n== {self._time()} preview {event.number} of {event.bundle}: {CAUSES[event.cause]}", "head"
                )
            case Pinned() | NodeMissing():
                self._node(event)
            case PromptRendered() | NotRun():
                self._request(event)
            case TurnStarted() | Piece() | Replied() | ToolRan():
                self._turn(event)
            case _:
                self._ended(event)
        self.out.flush()

    def _validated(self, event: Validated) -> None:
        self.clean = event.current
        self._print(f"\n== {self._time()} generation {event.generation}: {findings_words(event)}", "head")
        if event.diagnostics:
            self._write(render(event.diagnostics, "full", color=self.color))
        if not event.current:
            stays = "the last good bundle stays in force" if event.in_force else "no bundle is in force yet"
            self._print(f"{stays}; mend what was found, and it goes on", "bad")

    def _node(self, event: Pinned | NodeMissing) -> None:
        if isinstance(event, Pinned):
            self._print(f"-- node {event.place}, line {event.node.line}", "section")
            self._lines(f"note: {note}" for note in event.notes)
            return
        self.done = event
        self._print(f"-- no node: {event.reason}", "bad")
        if event.nodes:
            self._print(f"the bundle takes: {', '.join(row.name for row in event.nodes[:20])}")

    def _request(self, event: PromptRendered | NotRun) -> None:
        if isinstance(event, NotRun):
            self.done = event
            return
        request = event.request
        about = f"{'' if request.exact else 'about '}{request.tokens} tokens for {request.model}"
        self._difference("prompt", event.prompt, about)

    def _turn(self, event: TurnStarted | Piece | Replied | ToolRan) -> None:
        match event:
            case TurnStarted():
                who = f", adapter {event.adapter}" if event.adapter else ""
                self._print(f"-- reply, turn {event.turn}{who}", "section")
            case Piece():
                self._write(harmless(event.text))
                self._open_line = not event.text.endswith("\n")
            case Replied():
                self._end_line()
            case ToolRan():
                self._lines(tool_lines(event))

    def _ended(self, event: DevEvent) -> None:
        self._end_line()
        match event:
            case Finished():
                self._finished(event)
            case Failed():
                self.done = event
                self._print(f"-- failed: {event.message}", "bad")
            case Cancelled():
                self._print("-- cancelled: something newer was saved")
            case Decided():
                self._lines(f"{one.state}: {one.path}: {one.reason}" for one in event.decisions)
            case Said():
                self._print(event.text)

    def _finished(self, event: Finished) -> None:
        self.done = event
        if not event.output.first:
            self._difference("output", event.output)
        self._difference("change", event.change)
        words = f": {event.words}" if event.words else ""
        style = "head" if event.outcome == "finished" else "bad"
        summary = f"-- {event.outcome} ({event.reason}){words}; {turns_words(event)}"
        self._print(" ".join(summary.split()), style)

    def _difference(self, name: str, difference: Difference, about: str = "") -> None:
        counts = difference.counts if difference.lines or not difference.first else "none"
        words = ", ".join(word for word in (about, counts) if word)
        self._print(f"-- {name}{f': {words}' if words else ''}", "section")
        if difference.first or difference.changed:
            for line in difference.folded():
                self._print(str(line) if difference.changed else line.text, line.mark)

    def _time(self) -> str:
        return f"{self.clock():%H:%M:%S}"

    def _lines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._print(line)

    def _print(self, text: str, style: str = "") -> None:
        self._end_line()
        code = _STYLES.get(style) if self.color else None
        shown = harmless(text)
        self._write(f"\x1b[{code}m{shown}\x1b[0m\n" if code else f"{shown}\n")

    def _end_line(self) -> None:
        if self._open_line:
            self._open_line = False
            self._write("\n")

    def _write(self, text: str) -> None:
        encoding = getattr(self.out, "encoding", None) or "utf-8"
        self.out.write(text.encode(encoding, "replace").decode(encoding))


async def follow(loop: DevLoop, *, color: bool = False, once: bool = False) -> int:
    """Print previews until interrupted, or one.

    Returns:
        0 when the one preview finished and nothing is wrong with the bundle, 1 when not, 130 when the process was told
        to end.
    """
    view, told = PlainView(color=color), False
    work = asyncio.current_task()

    def end() -> None:
        nonlocal told
        told = True
        if work is not None:
            work.cancel()

    try:
        with ending(end):
            async with loop:
                await loop.run(view, once=once)
    except asyncio.CancelledError:
        if not told:
            raise
        return 130
    return 0 if view.good else 1

"""What a run looks like while it goes on: live on a terminal, plain lines otherwise, JSON lines for machines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from engine.cli.console import count, printable, quiet
from engine.cli.summary import print_summary
from engine.cli.words import left, outcomes, rates
from engine.events import Event, RunPlanned, StoredEvent, TaskFinished
from engine.run import Mirror, RunResult
from engine.run.flights import as_mapping
from engine.run.resume import BROKEN_OFF
from engine.run.tally import Tally

if TYPE_CHECKING:
    from engine.run.results import Earlier

MARK = {"finished": ("ok", "green"), "failed": ("failed", "red"), "stopped": ("stopped", "yellow")}

FEW = 50
"""Of so many tasks each is told of when it ends; of more, only those that did not finish."""

PLAIN_FEW = 200
PLAIN_SECONDS = 10.0
PLAIN_FIRST = 2.0
PLAIN_TROUBLES = 100
TROUBLES = 10
"""Lines above the live view at each of its frames, at most."""


def task_line(event: TaskFinished) -> str:
    """Return one finished task as a line."""
    word, color = MARK.get(event.outcome, (event.outcome, "yellow"))
    if event.outcome == "finished" and not event.changed_files:
        word, color = "no change", "yellow"
    words = event.error if event.outcome != "finished" and event.error else event.summary
    text = printable(" ".join((words or event.reason)[:1000].split()))
    place = printable(f"{event.file}:{event.line} {event.node}")
    mark, turns = click.style(word, fg=color), "turn" if event.turns == 1 else "turns"
    took = "from the cache" if event.cached else f"{event.turns} {turns}, {event.seconds:.1f} s"
    return f"{mark} {printable(event.bundle)} {place}: {text[:160]} ({took})"


class PlainView:
    """Lines on stderr: one per task where there are few, else one for each that failed and every 10 seconds a sum."""

    mirror: Mirror | None = None

    def __init__(self) -> None:
        self.tally = Tally()
        self._summed = 0.0
        self._troubles = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def go_on(self, earlier: Earlier) -> None:
        """Count what tasks came to before the run was gone on with."""
        self.tally.go_on(earlier)

    async def on_event(self, event: Event) -> None:
        """Show the plan and the finished tasks."""
        self._add(event)
        if isinstance(event, RunPlanned):
            self._summed = time.monotonic() - PLAIN_SECONDS + PLAIN_FIRST
            self.say(f"{count(event.tasks, 'task')} on {count(event.nodes, 'node')} of {count(event.files, 'file')}")
        elif isinstance(event, TaskFinished):
            self._tell(event)

    def _add(self, event: Event) -> None:
        if event.type in Tally.TAKEN:
            self.tally.add(as_mapping(event, time.time()))

    def _tell(self, event: TaskFinished) -> None:
        if self.tally.total <= PLAIN_FEW:
            self.say(task_line(event))
            return
        if event.outcome != "finished":
            self._troubles += 1
            if self._troubles <= PLAIN_TROUBLES:
                self.say(task_line(event))
            if self._troubles == PLAIN_TROUBLES:
                self.say("more of them are only counted: engine show tells of each")
        now = time.monotonic()
        if now - self._summed >= PLAIN_SECONDS:
            self._summed = now
            self.say(self._sum())

    def _sum(self) -> str:
        tally, now = self.tally, time.time()
        share = f"{tally.done}/{tally.total} tasks ({tally.done / max(1, tally.total):.0%})"
        return "; ".join(filter(None, (share, outcomes(tally), rates(tally, now), left(tally, now))))

    def say(self, text: str) -> None:
        """Write a line, unless `--quiet`."""
        if not quiet():
            click.echo(text, err=True, color=False if os.environ.get("NO_COLOR") else None)

    def print_summary(self, result: RunResult, root: Path) -> None:
        """Say what came of the run and what to do next, on stdout."""
        print_summary(result, root, saved=self.tally.saved_tokens)


class LiveView(PlainView):
    """The run as it stands, some times a second; what did not finish scrolls above it."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        self._lines: list[str] = []
        self._more = 0
        self._drawn = (0.0, 0)
        self._events = 0
        self._live = Live(
            console=Console(stderr=True, highlight=False), auto_refresh=False, transient=True, redirect_stdout=False
        )
        self._live.start()
        self._ticker = asyncio.get_running_loop().create_task(self._tick())
        return self

    def __exit__(self, *_: object) -> None:
        self._ticker.cancel()
        with contextlib.suppress(OSError):  # the terminal is gone
            try:
                self._flush()
            finally:
                self._live.stop()

    async def on_event(self, event: Event) -> None:
        """Take an event; it is shown with the next frame."""
        self._events += 1
        self._add(event)
        if isinstance(event, TaskFinished) and self._worth_a_line(event):
            if len(self._lines) < max(TROUBLES, FEW if self.tally.total <= FEW else 0):
                self._lines.append(task_line(event))
            else:
                self._more += 1

    def _worth_a_line(self, event: TaskFinished) -> bool:
        if event.reason in BROKEN_OFF:  # the run ends, and says so itself
            return False
        return event.outcome != "finished" or self.tally.total <= FEW

    async def _tick(self) -> None:
        from engine.cli.live import FRAMES

        with contextlib.suppress(OSError):  # the terminal is gone: the run ends, or goes on without it
            while True:
                self._draw()
                await asyncio.sleep(1 / FRAMES)

    def _draw(self) -> None:
        """Draw a frame if there is something new, and each second for the clock's sake."""
        from engine.cli.live import frame

        now = time.time()
        second, events = self._drawn
        if self._events == events and abs(now - second) < 1:
            return
        self._drawn = (now, self._events)
        self._flush()
        self._live.update(frame(self.tally, now, self._live.console), refresh=True)

    def _flush(self) -> None:
        from rich.text import Text

        if not self._lines:
            return
        if self._more:
            self._lines.append(f"and {self._more} more: engine show tells of each")
        self._live.console.print(Text("\n").join(Text.from_ansi(line) for line in self._lines), soft_wrap=True)
        self._lines, self._more = [], 0


class JsonView(PlainView):
    """The events as JSON lines on stdout, the run's end last; nothing else."""

    def mirror(self, stored: StoredEvent) -> None:
        """Write one event."""
        sys.stdout.write(json.dumps(stored.as_dict()) + "\n")
        sys.stdout.flush()

    async def on_event(self, event: Event) -> None:
        """Leave it to the mirror."""

    def print_summary(self, result: RunResult, root: Path) -> None:
        """Print nothing: the last event is the summary."""


class QuietView(PlainView):
    """Only the summary."""

    async def on_event(self, event: Event) -> None:
        """Count what the summary says."""
        if isinstance(event, TaskFinished):
            self._add(event)


def is_live() -> bool:
    """Whether stderr is a terminal that can be drawn on."""
    return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def make_view(*, as_json: bool) -> PlainView:
    """Return the view that fits where the output goes."""
    if as_json:
        return JsonView()
    if quiet():
        return QuietView()
    return LiveView() if is_live() else PlainView()

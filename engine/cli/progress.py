"""What a run looks like while it goes on: live on a terminal, plain lines otherwise, JSON lines for machines."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import click

from engine.cli.console import count, printable, quiet
from engine.events import Event, RunPlanned, StoredEvent, TaskFinished, TaskStarted
from engine.run import Mirror, RunResult

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

MARK = {"finished": ("ok", "green"), "failed": ("failed", "red"), "stopped": ("stopped", "yellow")}


def task_line(event: TaskFinished) -> str:
    """Return one finished task as a line."""
    word, color = MARK.get(event.outcome, (event.outcome, "yellow"))
    if event.outcome == "finished" and not event.changed_files:
        word, color = "no change", "yellow"
    words = event.error if event.outcome != "finished" and event.error else event.summary
    text = printable(" ".join((words or event.reason).split()))
    place = printable(f"{event.file}:{event.line} {event.node}")
    mark, turns = click.style(word, fg=color), "turn" if event.turns == 1 else "turns"
    return f"{mark} {event.bundle} {place}: {text[:160]} ({event.turns} {turns}, {event.seconds:.1f} s)"


class PlainView:
    """A line per finished task on stderr."""

    mirror: Mirror | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    async def on_event(self, event: Event) -> None:
        """Show the plan and the finished tasks."""
        if isinstance(event, RunPlanned):
            self.say(f"{count(event.tasks, 'task')} on {count(event.nodes, 'node')} of {count(event.files, 'file')}")
        elif isinstance(event, TaskFinished):
            self.say(task_line(event))

    def say(self, text: str) -> None:
        """Write a line, unless `--quiet`."""
        if not quiet():
            click.echo(text, err=True)

    def print_summary(self, result: RunResult, root: Path) -> None:
        """Say what came of the run and what to do next, on stdout."""
        counts = ", ".join(
            f"{result.count(outcome)} {outcome}"
            for outcome in ("finished", "failed", "stopped")
            if result.count(outcome) or outcome == "finished"
        )
        click.echo(f"run {result.run_id}: {counts}; {len(result.changes)} changes offered; {result.seconds:.1f} s")
        for decision in result.decisions:
            if decision.state != "accepted":
                click.echo(printable(f"{decision.state}: {decision.path}: {decision.reason}"))
        if result.decisions:
            accepted = sum(decision.state == "accepted" for decision in result.decisions)
            click.echo(f"{accepted} changes accepted")
        elif result.changes:
            where = "" if root == Path.cwd() else f" --project {root}"
            click.echo(f"look: engine diff{where}    take: engine accept{where}    drop: engine reject{where}")


class LiveView(PlainView):
    """A progress bar with the tasks in flight; failures scroll above it."""

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            SpinnerColumn,
            TextColumn,
            TimeRemainingColumn,
        )

        self._tokens = 0
        self._flight: dict[str, str] = {}
        self._progress: Progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[tokens]} tokens"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar: TaskID = self._progress.add_task("planning", total=None, tokens=0)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    async def on_event(self, event: Event) -> None:
        """Move the bar."""
        if isinstance(event, RunPlanned):
            self._progress.update(self._bar, total=event.tasks, description="running")
        elif isinstance(event, TaskStarted):
            self._flight[event.task_id] = event.node
        elif isinstance(event, TaskFinished):
            self._finished(event)
        self._progress.update(self._bar, description=self._describe(), tokens=self._tokens)

    def _describe(self) -> str:
        # Names come from the target's code: they must not be read as markup.
        from rich.markup import escape

        names = list(self._flight.values())
        return escape(", ".join(names[:2]) + (f" +{len(names) - 2}" if len(names) > 2 else "")) or "running"

    def _finished(self, event: TaskFinished) -> None:
        from rich.text import Text

        self._flight.pop(event.task_id, None)
        self._tokens += event.usage.total_tokens
        self._progress.advance(self._bar)
        self._progress.console.print(Text.from_ansi(task_line(event)))


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


def make_view(*, as_json: bool) -> PlainView:
    """Return the view that fits where the output goes."""
    if as_json:
        return JsonView()
    return LiveView() if sys.stderr.isatty() and not quiet() else PlainView()

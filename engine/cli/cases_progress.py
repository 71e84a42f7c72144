"""How far a test run is: a bar on a terminal, plain lines otherwise, on stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

import click

from engine.cli.console import printable, quiet

if TYPE_CHECKING:
    from engine.run.testing import Trial

COLORS = {"passed": "green", "failed": "red", "error": "magenta", "not run": "yellow"}


def inline(text: str) -> str:
    """Return a text of others as one harmless line."""
    return printable(" ".join(text.splitlines()))


def trial_line(trial: Trial) -> str:
    """Return one trial as a line."""
    key = trial.key
    first = trial.error or (trial.failures[0].message if trial.failures else "")
    words = f": {' '.join(first.split())[:120]}" if first else ""
    place = f"{key.bundle}: {key.case} ({key.combination}, seed {trial.seed})"
    return f"{click.style(trial.state, fg=COLORS[trial.state])} {inline(place + words)} ({trial.seconds:.1f} s)"


class PlainProgress:
    """A line for each trial.

    Args:
        total: How many there are.
    """

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, trial: Trial) -> None:
        """Show a trial that has ended."""
        self._done += 1
        if not quiet():
            click.echo(f"[{self._done}/{self._total}] {trial_line(trial)}", err=True)


class LiveProgress(PlainProgress):
    """A bar; what did not pass scrolls above it."""

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

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._bar = self._progress.add_task("running cases", total=self._total)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, trial: Trial) -> None:
        """Move the bar."""
        from rich.text import Text

        self._progress.advance(self._bar)
        if trial.state != "passed":
            self._progress.console.print(Text.from_ansi(trial_line(trial)))


def make_progress(total: int) -> PlainProgress:
    """Return what fits where stderr goes."""
    return LiveProgress(total) if sys.stderr.isatty() and not quiet() else PlainProgress(total)

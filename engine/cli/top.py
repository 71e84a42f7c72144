"""`engine top`: watch a run of another process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from engine.app import App
from engine.cli.console import note, project_option

if TYPE_CHECKING:
    from rich.console import Console, Group

    from engine.events import LogReader
    from engine.run.tally import Tally

_ENDINGS = 5


@click.command(name="top")
@click.argument("run", required=False)
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print how the run stands as one JSON object.")
def command(run: str | None, project: Path | None, as_json: bool) -> int:
    """Watch a run of another process until it ends; without RUN, the newest.

    Where standard output is no terminal, how the run stands is printed once.
    """
    from engine.run.standing import as_dict, attach

    with App.open(project).reader() as log:
        run_id = log.resolve(run)
        tally, seq = attach(log, run_id)
        if as_json:
            click.echo(json.dumps(as_dict(tally, time.time()), indent=2))
            return 0
        if not tally.is_over and _is_live():
            _watch(log, run_id, tally, seq)
    _print(tally)
    if tally.status == "interrupted":
        note(f"the run's process is gone, or was stopped: engine resume {run_id} goes on")
    return 0


def _is_live() -> bool:
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def _watch(log: LogReader, run_id: str, tally: Tally, seq: int) -> None:
    """Show the run until it ends."""
    from rich.console import Console
    from rich.live import Live

    from engine.cli.live import FRAMES

    console = Console(highlight=False)
    follower, drawn = log.follow(run_id, after=seq), 0.0
    with _ended_by_signals(), Live(console=console, auto_refresh=False, screen=True) as live:
        while not follower.ended:
            for event in follower.wait(1 / FRAMES):
                tally.add(event)
            if time.monotonic() - drawn >= 1 / FRAMES:
                live.update(_frame(tally, console), refresh=True)
                drawn = time.monotonic()
    record = follower.record
    if record is not None and record.status != "running" and not tally.is_over:
        tally.end(record.status, record.ended)


def _frame(tally: Tally, console: Console) -> Group:
    from engine.cli.live import frame

    return frame(tally, time.time(), console, title=f"run {tally.run_id}: {tally.status}", endings=_ENDINGS)


def _print(tally: Tally) -> None:
    """Print how the run stands, on stdout; a pipe has no width, so nothing is cut there."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=2000, height=200)
    console.print(_frame(tally, console))


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make SIGTERM and a closed terminal end the view as Ctrl-C does, so that the terminal is given back."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [getattr(signal, name) for name in names]
    before = {number: signal.signal(number, end) for number in numbers if signal.getsignal(number) != signal.SIG_IGN}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""What `engine runs` and `engine runs prune` print."""

from __future__ import annotations

import json

import click

from engine.cli.console import count, note, printable
from engine.events import LogReader, RunRecord
from engine.run.housekeeping import Tidied

_COUNTED = ("finished", "failed", "stopped")


def run_counts(record: RunRecord, log: LogReader) -> str:
    """Return what became of a run's tasks; of one that did not end, as far as it got."""
    if record.ended is not None:
        outcomes = [f"{record.summary.get(key, 0)} {key}" for key in _COUNTED]
        return ", ".join([*outcomes, count(record.summary.get("changes", 0), "change")])
    sums = log.task_sums(record.run_id)
    found = {key: sum(row[2] for row in sums if row[0] == key) for key in _COUNTED}
    left = sum(row[2] for row in sums if row[0] in ("planned", "running"))
    changes = sum(row[3] for row in sums)
    return ", ".join(
        [*(f"{number} {key}" for key, number in found.items()), f"{count(changes, 'change')}, {left} left"]
    )


def print_tidied(tidied: Tidied, *, dry_run: bool, as_json: bool) -> None:
    """Say what was forgotten, or would be, on stdout; and what was kept although it was due, on stderr."""
    if as_json:
        click.echo(json.dumps(tidied.as_dict() | {"dry_run": dry_run}, indent=2))
        return
    for run_id, reason in tidied.kept:
        note(printable(f"kept: {run_id}: {reason}"))
    for run_id in tidied.runs:
        click.echo(printable(f"{'would forget' if dry_run else 'forgot'} {run_id}"))
    if dry_run or not tidied.runs:
        click.echo(f"{count(len(tidied.runs), 'run')} {'would be ' if dry_run else ''}forgotten")
        return
    what = ", ".join(count(getattr(tidied, key), key[:-1]) for key in ("events", "tasks", "changes"))
    click.echo(f"{count(len(tidied.runs), 'run')} forgotten: {what}; {tidied.bytes / 1e6:.1f} MB freed")

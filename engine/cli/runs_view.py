"""What `engine runs prune` prints."""

from __future__ import annotations

import json

import click

from engine.cli.console import count, note, printable
from engine.run.housekeeping import Tidied


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

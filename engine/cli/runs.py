"""`engine runs`, `engine show`, `engine events`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import click

from engine.app import App
from engine.cli.console import note, printable, project_option


@click.command()
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, newest first.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many.")
def runs(project: Path | None, as_json: bool, limit: int) -> int:
    """List the runs of this project, newest first."""
    with App.open(project).reader() as log:
        records = log.runs(limit=limit)
    if as_json:
        click.echo(json.dumps([record.as_dict() for record in records], indent=2))
        return 0
    for record in records:
        when = datetime.fromtimestamp(record.started, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        summary = record.summary or {}
        counts = ", ".join(f"{summary.get(key, 0)} {key}" for key in ("finished", "failed", "stopped", "changes"))
        click.echo(f"{record.run_id}  {when}  {record.status}  {counts}")
    if not records:
        note("no runs yet: engine run BUNDLE --target PATH")
    return 0


@click.command()
@click.argument("run", required=False)
@click.option("--task", "pattern", metavar="GLOB", help="Only tasks whose id, file or node matches; shows their turns.")
@project_option
def show(run: str | None, pattern: str | None, project: Path | None) -> int:
    """Show what came of a run, task by task; without RUN, of the newest."""
    from engine.cli.show_view import lines_of_run

    with App.open(project).reader() as log:
        run_id = log.resolve(run)
        for line in lines_of_run(log.events(run_id), pattern):
            click.echo(printable(line))
    return 0


@click.command()
@click.argument("run", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on as events are stored, until the run ends.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only events after this sequence number.")
@click.option("--type", "types", multiple=True, metavar="GLOB", help="Only events of this type, such as 'task:*'.")
@click.option("--task", "tasks", multiple=True, metavar="GLOB", help="Only of tasks whose id, file or node matches.")
@project_option
def events(
    run: str | None, project: Path | None, follow: bool, after: int, types: tuple[str, ...], tasks: tuple[str, ...]
) -> int:
    """Print the events of a run as JSON lines; without RUN, of the newest."""
    from engine.cli.events_view import print_events
    from engine.events import EventFilter

    with App.open(project).reader() as log:
        follower = log.follow(log.resolve(run), after=after)
        print_events(follower, EventFilter(log, types, tasks), follow=follow)
    if follow and follower.gone:
        note("the run's process is gone, and the run did not end: engine show tells how far it got")
    return 0

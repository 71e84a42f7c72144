"""`engine runs`, `engine show`, `engine events`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from engine.app import App
from engine.cli.console import note, printable, project_option


@click.group(invoke_without_command=True)
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array, newest first.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most this many.")
@click.pass_context
def runs(context: click.Context, /, project: Path | None, as_json: bool, limit: int) -> int:
    """List the runs of this project, newest first."""
    from engine.cli.runs_view import run_counts

    if context.invoked_subcommand is not None:
        return 0
    with App.open(project).reader() as log:
        records = log.runs(limit=limit)
        standing = {each.run_id: run_counts(each, log) for each in records if not as_json}
    if as_json:
        click.echo(json.dumps([record.as_dict() for record in records], indent=2))
        return 0
    for record in records:
        when = datetime.fromtimestamp(record.started, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        click.echo(printable(f"{record.run_id}  {when}  {record.status}  {standing[record.run_id]}"))
    if not records:
        note("no runs yet: engine run BUNDLE --target PATH")
    return 0


@runs.command()
@click.argument("run", nargs=-1)
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the newest N.")
@click.option("--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Forget those that started earlier.")
@click.option("--all", "unfinished", is_flag=True, help="Also runs that could be resumed.")
@click.option("--dry-run", is_flag=True, help="Say what would be forgotten; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")
@project_option
@click.pass_context
def prune(context: click.Context, /, run: tuple[str, ...], project: Path | None, **options: Any) -> int:
    """Forget old runs and give their space back; by default as engine.yaml says under log.

    Runs that go on or have changes that wait for a decision are kept; so are those that could be resumed, unless they
    are named.
    """
    from engine.cli.runs_view import print_tidied

    assert context.parent is not None  # noqa: S101 - it is the command of a group
    app = App.open(project or context.parent.params["project"])
    keeper = app.housekeeper()
    with app.reader() as log:
        named = [log.resolve(each) for each in run]
    due = keeper.due(app.keep(options["keep"], options["older_than"]), named)
    dry_run = options["dry_run"]
    tidied = keeper.tidy(due, unfinished=options["unfinished"] or bool(named), dry_run=dry_run)
    as_json = options["as_json"] or context.parent.params["as_json"]
    print_tidied(tidied, dry_run=dry_run, as_json=as_json)
    return 1 if named and tidied.kept else 0


@click.command()
@click.argument("run", required=False)
@click.option("--task", "pattern", metavar="GLOB", help="Only tasks whose id, file or node matches; shows their turns.")
@click.option(
    "--state", "states", multiple=True, metavar="STATE[,…]", help="Only tasks in these states, such as failed,stopped."
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: the run, and its tasks as they stand.")
@project_option
def show(run: str | None, project: Path | None, pattern: str | None, states: tuple[str, ...], as_json: bool) -> int:
    """Show what came of a run, task by task; without RUN, of the newest."""
    from engine.cli.show_view import choose_states, lines_of_run, run_as_json

    wanted = choose_states(states)
    with App.open(project).reader() as log:
        run_id = log.resolve(run)
        if as_json:
            click.echo(run_as_json(log, run_id, wanted, pattern))
            return 0
        for line in lines_of_run(log, run_id, wanted, pattern):
            click.echo(printable(line))
    return 0


@click.command()
@click.argument("run", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on as events are stored, until the run ends.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only events after this sequence number.")
@click.option("--type", "kinds", multiple=True, metavar="GLOB", help="Only events of this type, such as 'task:*'.")
@click.option("--task", "tasks", multiple=True, metavar="GLOB", help="Only of tasks whose id, file or node matches.")
@click.option("--otel", metavar="URL", help="Send the run to an OpenTelemetry collector instead, with its own times.")
@project_option
def events(run: str | None, project: Path | None, otel: str | None, **options: Any) -> int:
    """Print the events of a run as JSON lines; without RUN, of the newest."""
    from engine.cli.events_view import print_events, send_events
    from engine.events import EventFilter

    app = App.open(project)
    follow, after, kinds, tasks = (options[name] for name in ("follow", "after", "kinds", "tasks"))
    if otel is not None:
        if follow or after or kinds or tasks:
            raise click.UsageError("--otel sends a whole run: leave --follow, --after, --type and --task out")
        return send_events(app, run, otel)
    with app.reader() as log:
        follower = log.follow(log.resolve(run), after=after)
        print_events(follower, EventFilter(log, kinds, tasks), follow=follow)
    if follow and follower.gone:
        note("the run's process is gone, and the run did not end: engine show tells how far it got")
    return 0

"""`engine diff`, `engine accept`, `engine reject`, `engine undo`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app import App
from engine.cli.console import count, note, printable, project_option, use_color

if TYPE_CHECKING:
    from engine.run.review import Review, Where
    from engine.workspace import Decision, OfferedChange

COLORS = {"+": "green", "-": "red", "@": "cyan", "<": "yellow", "|": "yellow", "=": "yellow", ">": "yellow"}

run_argument = click.argument("run", required=False)
task_option = click.option(
    "--task", "tasks", multiple=True, metavar="GLOB", help="Only tasks whose id, file or node matches."
)
where_option = click.option(
    "--where", metavar="EXPR", help="Only changes for which this holds, such as 'checks.passed and added < 20'."
)


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which changes of which run are meant."""
    for option in (project_option, where_option, task_option, run_argument):
        command = option(command)
    return command


def condition(where: str | None) -> Where | None:
    """Compile `--where`."""
    if where is None:
        return None
    from engine.run.review import Where

    return Where(where)


def paint(diff: str) -> str:
    """Colour a unified diff if stdout wants colour."""
    text = printable(diff)
    if not use_color():
        return text
    return "\n".join(click.style(line, fg=COLORS[line[0]]) if line[:1] in COLORS else line for line in text.split("\n"))


@click.command()
@chosen
@click.option("--stat", is_flag=True, help="Only the files and how many lines change.")
@click.option("--all", "all_states", is_flag=True, help="Also what was accepted or rejected.")
@click.option("--merge", "three", is_flag=True, help="Beside the file as it is now, where somebody edited it.")
def diff(run: str | None, tasks: Sequence[str], where: str | None, project: Path | None, **options: bool) -> int:
    """Show the changes of a run that wait for a decision; without RUN, of the newest.

    Those that did not pass their checks are marked.
    """
    expression = condition(where)
    review = App.open(project).review(run)
    heads = review.heads(tasks, None if options["all_states"] else ("pending", "conflict"), expression)
    for head in heads:
        if options["stat"]:
            marks = f"+{head.added} -{head.removed} | {head.task_id} | {head.marks}"
            click.echo(f"{printable(head.path)} | {marks}")
        elif (row := review.store.get(head.id)) is not None:
            note(f"# {row.task_id} {printable(row.node)} ({row.marks})")
            for check in row.checks:
                if not check["passed"]:
                    note(f"#   {printable(check['check'])}: {printable(check['detail'])}")
            click.echo(paint(_diff(review, row, three=options["three"])), nl=False)
    if not heads:
        nothing = "there are no changes that are meant" if options["all_states"] else nothing_waits(review)
        note(f"run {review.run_id}: {nothing}")
    return 0


def _diff(review: Review, row: OfferedChange, *, three: bool) -> str:
    """Return a change; with `three` as it meets the file now, from all sides where that is not clear."""
    from engine.workspace import three_way_diff

    found, live = review.outlook(row) if three and row.state in ("pending", "conflict") else ("write", None)
    return row.change.diff() if found in ("write", "done") else three_way_diff(row.change, live, row.task_id)


@click.command()
@chosen
@click.option("--merge", is_flag=True, help="Merge into files that were edited meanwhile, where that comes clean.")
@click.option("--failing", is_flag=True, help="Also take changes that did not pass their checks.")
def accept(
    run: str | None, tasks: Sequence[str], where: str | None, project: Path | None, merge: bool, failing: bool
) -> int:
    """Write the changes of a run into the project; refuses a file that changed since the task read it."""
    expression = condition(where)
    review = App.open(project).review(run)
    return _report(review, review.accept(tasks, expression, merge=merge, failing=failing), "accepted")


@click.command()
@chosen
def reject(run: str | None, tasks: Sequence[str], where: str | None, project: Path | None) -> int:
    """Drop the changes of a run."""
    expression = condition(where)
    review = App.open(project).review(run)
    return _report(review, review.reject(tasks, expression), "rejected")


@click.command()
@chosen
def undo(run: str | None, tasks: Sequence[str], where: str | None, project: Path | None) -> int:
    """Take the accepted changes of a run out of the project's files again; they wait as before.

    Without RUN, those of the newest run that has accepted changes. Lines that were edited since are kept, if they don't
    touch what the change did; else it is refused and stays.
    """
    expression = condition(where)
    app = App.open(project)
    chosen_run = run or app.newest_accepted()
    if chosen_run is None:
        click.echo("nothing was accepted: no run has changes that could be taken out")
        return 0
    review = app.review(chosen_run)
    return _report(review, review.undo(tasks, expression), "undone")


def nothing_waits(review: Review) -> str:
    """Say why no change that waits is meant: there is none, or the selection leaves none of them."""
    waiting = len(review.heads())
    if not waiting:
        return "nothing waits for a decision"
    return (
        f"{count(waiting, 'change')} {'waits' if waiting == 1 else 'wait'}, and --task and --where leave none of them"
    )


def _report(review: Review, decisions: Sequence[Decision], wanted: str) -> int:
    done = sum(decision.state == wanted for decision in decisions)
    for decision in decisions:
        if decision.state != wanted:
            click.echo(f"{decision.state}: {printable(_reason(decision))}")
    if decisions:
        came = f"{count(done, 'change')} {wanted}"
    else:
        came = "nothing of what is meant was accepted" if wanted == "undone" else nothing_waits(review)
    click.echo(f"run {review.run_id}: {came}")
    return 0 if done == len(decisions) else 1


def _reason(decision: Decision) -> str:
    """Return why a decision is another than was wanted; most reasons begin with the file."""
    path, reason = decision.path, decision.reason
    return reason if reason.startswith(path) else f"{path}: {reason}"

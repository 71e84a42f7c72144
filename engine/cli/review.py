"""`engine diff`, `engine accept`, `engine reject`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.app import App
from engine.cli.console import note, printable, project_option, use_color

if TYPE_CHECKING:
    from engine.workspace import Decision

COLORS = {"+": "green", "-": "red", "@": "cyan"}

run_argument = click.argument("run", required=False)
task_option = click.option(
    "--task", "tasks", multiple=True, metavar="GLOB", help="Only tasks whose id, file or node matches."
)


def paint(diff: str) -> str:
    """Colour a unified diff if stdout wants colour."""
    text = printable(diff)
    if not use_color():
        return text
    return "\n".join(click.style(line, fg=COLORS[line[0]]) if line[:1] in COLORS else line for line in text.split("\n"))


@click.command()
@run_argument
@task_option
@project_option
@click.option("--stat", is_flag=True, help="Only the files and how many lines change.")
@click.option("--all", "all_states", is_flag=True, help="Also what was accepted or rejected.")
def diff(run: str | None, tasks: Sequence[str], project: Path | None, stat: bool, all_states: bool) -> int:
    """Show the changes of a run that wait for a decision; without RUN, of the newest."""
    review = App.open(project).review(run)
    rows = review.offered(tasks, states=None if all_states else ("pending", "conflict"))
    for row in rows:
        if stat:
            counts = f"+{row.change.added} -{row.change.removed}"
            click.echo(f"{printable(row.change.path)} | {counts} | {row.task_id} | {row.state}")
        else:
            note(f"# {row.task_id} {printable(row.node)} ({row.state})")
            click.echo(paint(row.change.diff()), nl=False)
    if not rows:
        note(f"run {review.run_id} has no changes that wait")
    return 0


@click.command()
@run_argument
@task_option
@project_option
def accept(run: str | None, tasks: Sequence[str], project: Path | None) -> int:
    """Write the changes of a run into the project; refuses a file that changed since the task read it."""
    review = App.open(project).review(run)
    return _report(review.run_id, review.accept(tasks), "accepted")


@click.command()
@run_argument
@task_option
@project_option
def reject(run: str | None, tasks: Sequence[str], project: Path | None) -> int:
    """Drop the changes of a run."""
    review = App.open(project).review(run)
    return _report(review.run_id, review.reject(tasks), "rejected")


def _report(run_id: str, decisions: Sequence[Decision], wanted: str) -> int:
    done = sum(decision.state == wanted for decision in decisions)
    for decision in decisions:
        if decision.state != wanted:
            click.echo(f"{decision.state}: {printable(decision.path)}: {printable(decision.reason)}")
    click.echo(f"run {run_id}: {done} changes {wanted}" if decisions else f"run {run_id}: nothing waits for a decision")
    return 0 if done == len(decisions) else 1

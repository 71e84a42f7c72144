"""`engine rerun`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.app import App
from engine.cli.console import count, note, printable, project_option, report_findings
from engine.cli.review import condition, nothing_waits, run_argument, where_option
from engine.errors import BundleError

if TYPE_CHECKING:
    from engine.run import Review


@click.command(name="rerun")
@run_argument
@click.option("--task", "tasks", multiple=True, metavar="GLOB", help="Tasks whose id, file or node matches.")
@where_option
@click.option("--note", "words", required=True, metavar="TEXT", help="What should be done better: the model reads it.")
@project_option
def command(run: str | None, tasks: Sequence[str], where: str | None, words: str, project: Path | None) -> int:
    """Run tasks of a run again whose changes wait, with a note for the model; new changes replace those that wait.

    Without --task and --where, all of them. The model reads the note below the diff of the first try.
    """
    expression = condition(where)
    app = App.open(project)
    review = app.review(run)
    chosen = list(dict.fromkeys(head.task_id for head in review.heads(tasks, where=expression)))
    try:
        done = asyncio.run(_again(app, review, chosen, words))
    except BundleError as exc:
        return report_findings(exc)
    came = f"{count(done, 'task')} finished again" if chosen else nothing_waits(review)
    click.echo(f"run {review.run_id}: {came}")
    return 0 if done == len(chosen) else 1


async def _again(app: App, review: Review, task_ids: Sequence[str], words: str) -> int:
    from engine.cli.run import fetch_weights

    done = 0
    for task_id in task_ids:
        result = await app.rerun(review.run_id, task_id, words, fetch=fetch_weights)
        done += result.outcome == "finished"
        said = result.error or result.summary or result.reason
        note(f"{result.outcome} {task_id}: {printable(' '.join(said.split()))}")
    return done

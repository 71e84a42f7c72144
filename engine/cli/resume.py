"""`engine resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.app import App, ResumeRequest
from engine.cli.console import count, note, printable, project_option, report_findings
from engine.cli.stopping import INTERRUPTED, report_result, run_to_end
from engine.cli.tracing import otel_option, traced
from engine.errors import BundleError
from engine.run.budget import parse_budget


@click.command(name="resume")
@click.argument("run", required=False)
@click.option("--failed", is_flag=True, help="Also try again what failed, hit a limit of its own or was skipped.")
@click.option(
    "--apply/--no-apply", "apply_", default=None, help="Accept the changes at the end; as at first if not given."
)
@click.option("--changed-bundles", is_flag=True, help="Go on with bundles that are not what they were.")
@click.option("--base-url", metavar="URL", help="Where the server is now, with /v1.")
@click.option("--concurrency", type=click.IntRange(1, 1024), help="Tasks at once.")
@click.option(
    "--budget", multiple=True, metavar="KIND=N", help="A limit of the whole run from now on, instead of the one it had."
)
@click.option("--take-over", is_flag=True, help="Go on with a run of a machine or container that is gone.")
@otel_option
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON lines, the summary last.")
def command(run: str | None, project: Path | None, apply_: bool | None, as_json: bool, **how: Any) -> int:
    """Go on with a run that ended early; without RUN, with the newest.

    Tasks that are done are not repeated; those that were under way start again.
    """
    app = App.open(project)
    how["budget"] = parse_budget(how["budget"])
    otel = how.pop("otel")
    try:
        return run_to_end(_resume(app, run, ResumeRequest(**how), apply=apply_, otel=otel, as_json=as_json))
    except BundleError as exc:
        return report_findings(exc)
    except KeyboardInterrupt:
        note(INTERRUPTED)
        raise


async def _resume(
    app: App, run: str | None, how: ResumeRequest, *, apply: bool | None, otel: str | None, as_json: bool
) -> int:
    from engine.cli.progress import make_view
    from engine.cli.run import fetch_weights, note_start

    async with traced(app, otel) as trace, app.resume(run, how, fetch=fetch_weights) as session:
        assert session.plan.resumed is not None  # noqa: S101 - what resume makes has it
        past = session.plan.resumed.past
        if past.over:
            return _say_over(past.run_id, past.earlier.tasks - past.earlier.count("finished"))
        note(f"run {past.run_id} goes on: {past.earlier.tasks} of {past.earlier.tasks + len(past.left)} tasks are done")
        for line in (*session.plan.resumed.notes, *session.plan.notes, *await session.check()):
            note(printable(f"warning: {line}"))
        if not as_json:
            await note_start(app, session)
        view = make_view(as_json=as_json)
        view.go_on(past.earlier)
        with view:
            result = await session.run([view, trace], apply=apply, mirror=view.mirror)
    return report_result(view, result, app.root)


def _say_over(run_id: str, unfinished: int) -> int:
    if not unfinished:
        note(f"run {run_id} has finished: nothing is left to do")
        return 0
    note(
        f"run {run_id} has ended, {count(unfinished, 'task')} without success: engine resume --failed tries them again"
    )
    return 1

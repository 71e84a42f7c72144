"""What a reviewer has done with one task of a run: tried once more with a note, or its change edited by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.app.recorded import request_from_json
from engine.errors import ConfigError, EngineError

if TYPE_CHECKING:
    from engine.app.app import App
    from engine.app.request import Fetch, RunRequest
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.events import RunRecord, TaskRow
    from engine.run import Review, TaskResult
    from engine.run.checks import CheckResult
    from engine.workspace import Change, OfferedChange


async def rerun(  # noqa: PLR0913 - a method of App, which hands itself in
    app: App,
    run_id: str,
    task_id: str,
    note: str,
    *,
    backend: Backend | None = None,
    fetch: Fetch | None = None,
    observers: Sequence[object] = (),
) -> TaskResult:
    """Run one task of a run again, with what a reviewer says; a new change replaces the one that waits.

    Args:
        app: The project.
        run_id: The run.
        task_id: The task.
        note: What the reviewer says; the model reads it below the first try's diff.
        backend: A backend to use instead of the one of the run; it stays open.
        fetch: Downloads missing weights.
        observers: Get the events, after the log.

    Raises:
        ConfigError: There is no such task, it has not ended, or its node is not there any more.
    """
    from engine.run.note import note_text

    request, row = await asyncio.to_thread(_asked, app, run_id, task_id)
    review = await asyncio.to_thread(app.review, run_id)
    first = [one for one in review.store.list(run_id, task_id) if one.state != "accepted"]
    async with app.session(request, backend=backend, fetch=fetch) as session:
        task = next((one for one in session.plan.tasks if one.task_id == task_id), None)
        if task is None:
            why = session.plan.why_no_task(request.nodes)
            raise ConfigError(f"task {task_id} cannot run again: {why} ({row.file}::{row.node})")
        noted = replace(task, note=note_text(note, [one.change.diff() for one in first]))
        return await session.again(noted, run_id, observers)


async def edit(app: App, review: Review, number: int, after: bytes | None) -> OfferedChange:
    """Put what a person wrote in place of what a task offered, and run the bundle's checks on it.

    Args:
        app: The project.
        review: The run's changes.
        number: The change.
        after: What the file is to hold; None deletes it.

    Returns:
        The change as it waits now.

    Raises:
        ConfigError: The change does not wait any more.
    """
    from engine.workspace import WAITING

    row = review.store.get(number)
    rows = [one for one in review.store.list(review.run_id, row.task_id) if one.state in WAITING] if row else []
    if row is None or number not in {one.id for one in rows}:
        raise ConfigError("the change does not wait any more: somebody decided on it, or it was replaced")
    changes = [replace(one.change, after=after) if one.id == number else one.change for one in rows]
    checks = [check._asdict() for check in await _checked(app, review, row, changes)]
    done = await asyncio.to_thread(review.edit, row, after, {one.id: checks for one in rows})
    if done is None:
        raise ConfigError("the change does not wait any more: somebody decided on it meanwhile")
    return done


async def _checked(app: App, review: Review, row: OfferedChange, changes: Sequence[Change]) -> Sequence[CheckResult]:
    from engine.run.checks import CheckResult, parse_problem
    from engine.run.review.editing import recheck

    try:
        bundle = await asyncio.to_thread(_bundle, app, review.run_id, str(row.facts.get("bundle", "")))
        return await recheck(app.root, bundle, changes)
    except (EngineError, OSError) as exc:
        # Nobody can say that the bundle's checks pass, so they don't.
        parsed = [(one.path, parse_problem(one.path, one.before, one.after)) for one in changes]
        said = [CheckResult(path, "parses", problem is None, problem or "") for path, problem in parsed]
        return [*said, CheckResult(row.path, "checks of the bundle", passed=False, detail=f"they cannot run: {exc}")]


def _asked(app: App, run_id: str, task_id: str) -> tuple[RunRequest, TaskRow]:
    with app.reader() as log:
        record = log.run(run_id)
        row = next((one for one in log.tasks(run_id) if one.task_id == task_id), None)
    if record is None or row is None:
        raise ConfigError(f"run {run_id} has no task {task_id}")
    if row.state in ("planned", "running") and record.status == "running":
        raise ConfigError(f"task {task_id} has not ended yet")
    alone = replace(_request(app, record), limit=None, shard=None, changed_since=None, executor="local", cache=False)
    return replace(alone, targets=(app.root / row.file,), nodes=(row.node_id,)), row


def _request(app: App, record: RunRecord) -> RunRequest:
    asked = record.summary.get("request")
    if not asked:
        raise ConfigError(f"the event log does not say what run {record.run_id} was asked for")
    return request_from_json(asked, app.root)


def _bundle(app: App, run_id: str, name: str) -> Bundle:
    with app.reader() as log:
        record = log.run(run_id)
    if record is None:
        raise ConfigError(f"the event log has no run {run_id}")
    wanted = app.wanted(app.choices.resolved(_request(app, record)))
    found = next((one.bundle for one in wanted if one.bundle.name == name), None)
    if found is None:
        raise ConfigError(f"run {run_id} had no bundle '{name}'")
    return found

"""Why the cache has nothing for a task of this project, as it is now."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.recorded import request_from_json
from engine.app.request import RunRequest
from engine.errors import ConfigError
from engine.run.cache.holds import Holds
from engine.run.cache.key import why_uncachable
from engine.run.cache.why import Difference, Why, explain_entry, explain_now

if TYPE_CHECKING:
    from engine.app.app import App
    from engine.run import Session, Task
    from engine.run.cache.entry import Entry
    from engine.run.cache.store import TaskCache

_RUNS = 50  # how far back a run is looked for
_WHOLE: dict[str, Any] = {"limit": None, "shard": None, "changed_since": None, "executor": None, "on_failure": None}
_KEY = re.compile(r"[0-9a-f]{6,64}")


async def why(app: App, subject: str, given: Mapping[str, Any]) -> list[Why]:
    """Say what keeps the cache from having something.

    Args:
        app: The project.
        subject: `FILE::NODE` or a task's id, compared as they are now with the nearest entry of each bundle; or the
            beginning of a key, whose entry is compared with the nearest other one.
        given: Attributes of the RunRequest that a person set; the others are those of the newest run that had the task.

    Raises:
        ConfigError: There is no such thing.
        BackendError: The server does not say what it is.
    """
    with app.cache() as cache:
        if "::" not in subject:
            entries = await asyncio.to_thread(cache.near, "task_id", subject, 1)
            if not entries:
                return [await asyncio.to_thread(_of_key, cache, subject)]
            return await _of_place(app, cache, entries[0].place, entries, given)
        place = _place(app.root, subject)
        return await _of_place(app, cache, place, await asyncio.to_thread(cache.near, "place", place), given)


def _of_key(cache: TaskCache, subject: str) -> Why:
    entries = cache.near("key", subject, 1) if _KEY.fullmatch(subject) else []
    if not entries:
        raise ConfigError(
            f"the cache knows no task and no key '{subject}'; for a task that never ran, write FILE::NODE and --bundle"
        )
    return explain_entry(cache, entries[0])


async def _of_place(
    app: App, cache: TaskCache, place: str, entries: Sequence[Entry], given: Mapping[str, Any]
) -> list[Why]:
    """Compare the tasks of one place: of the bundles that were named, else of those that the cache has it with."""
    requests = [_like(app, entry) for entry in {one.task_id: one for one in reversed(entries)}.values()]
    if given.get("bundles"):
        requests = requests[-1:] or [RunRequest([], [])]
    if not requests:
        raise ConfigError(f"the cache has nothing for {place}; name the bundle with --bundle")
    file, _, node = place.partition("::")
    found: list[Why] = []
    for request in requests:
        asked = replace(request, targets=[app.root / file], nodes=[node], **_WHOLE, **given)
        async with app.session(asked) as session:
            if not session.plan.tasks:
                raise ConfigError(f"{place}: {session.plan.why_no_task([node])}")
            found += [await _of_task(app, cache, session, task) for task in session.plan.tasks]
    return found


async def _of_task(app: App, cache: TaskCache, session: Session, task: Task) -> Why:
    about = f"{task.node.file_path}::{task.node.qualified_name} with {task.bundle.name}"
    key = await session.key(task)
    if key is None:
        return Why("uncachable", about, differences=(Difference(why_uncachable(task.bundle) or "nothing is kept"),))
    permissions = task.bundle.manifest.permissions
    return await asyncio.to_thread(explain_now, cache, key, about, Holds(app.root), permissions)


def _like(app: App, entry: Entry) -> RunRequest:
    """Return the request of the newest run that had an entry's task, for its bundle only."""
    with app.reader() as log:
        for record in log.runs(_RUNS):
            if log.task(record.run_id, entry.task_id) is not None and record.summary.get("request"):
                request = request_from_json(record.summary["request"], app.root)
                own = [one for one in request.bundles if Path(str(one)).name == entry.bundle]
                return replace(request, bundles=own or request.bundles)
    located = app.locate(entry.bundle)
    if not Path(str(located)).exists():
        raise ConfigError(f"the bundle '{entry.bundle}' is not in this project: say where it is with --bundle")
    return RunRequest([located], [])


def _place(root: Path, subject: str) -> str:
    """Return `FILE::NODE` with the file relative to the project's root, given from there or from where one is."""
    file, _, node = subject.partition("::")
    path = Path(file) if Path(file).is_absolute() or Path(file).exists() else root / file
    whole = path.resolve()
    return f"{whole.relative_to(root).as_posix() if whole.is_relative_to(root) else file}::{node}"

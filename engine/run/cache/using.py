"""The cache as one run uses it: what it has for the plan, the results it gives, and what it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.backends import identity_of
from engine.errors import ConfigError, EngineError
from engine.run.cache.entry import Entry, NewEntry
from engine.run.cache.hit import Hit
from engine.run.cache.holds import Holds
from engine.run.cache.insert import chunks
from engine.run.cache.key import Scene, TaskKey, make_key, make_scene, why_uncachable
from engine.run.cache.record import text_digest
from engine.run.cache.replay import result_now
from engine.run.cache.store import TaskCache
from engine.run.cache.writer import CacheWriter
from engine.run.plan import Assignment, Task
from engine.run.stage import Services
from engine.run.task import TaskResult
from engine.workspace import Snapshot

if TYPE_CHECKING:
    from engine.run.run_plan import Plan

CacheUse = Literal["use", "refresh"]
"""Read and write; or only write, so that everything is asked anew and kept."""

CACHE = Path(".engine", "cache.db")
"""The cache's file, relative to the project's root."""

_CHUNK = 500
_LOOKED_UP = 2000  # tasks whose entries are in memory at once


class RunCache:
    """One run's way to the cache. A file that cannot be used is a `problem` and never stops a run.

    Args:
        services: What the tasks of the run share; the cache is that of their project.
        use: Whether it is read, or only written.
    """

    def __init__(self, services: Services, use: CacheUse = "use") -> None:
        self._cache, self._services, self._use = TaskCache(services.root / CACHE), services, use
        self._scenes: dict[int, tuple[Assignment, Scene | None]] = {}
        self._writer = CacheWriter(self._cache)
        self._said: str | None = None
        self._left_out: set[str] = set()
        self._asking = asyncio.Lock()

    @property
    def problem(self) -> str | None:
        """Why the cache cannot be used, in one line with the way out; None while it can."""
        return self._said or self._writer.problem

    async def planned(self, plan: Plan) -> Plan:
        """Return a plan with what the cache has for it.

        Raises:
            BackendError: The server does not say what it is.
        """
        with self._cache:
            # What comes after others is looked up when its turn comes: only then is it known what it starts from.
            first = [task for task in plan.tasks if task.task_id not in plan.cached and not task.assignment.after]
            found = await self.look(first)
        reasons = {one.bundle.name: why_uncachable(one.bundle) for one in plan.assignments}
        return replace(
            plan,
            cached={**plan.cached, **found},
            uncachable={name: reason for name, reason in reasons.items() if reason is not None},
        )

    async def look(self, tasks: Sequence[Task]) -> dict[str, Hit]:
        """Return what the cache has for tasks, by their ids; tasks with a note are always asked anew.

        Raises:
            BackendError: The server does not say what it is.
        """
        asked = [task for task in tasks if not task.note and why_uncachable(task.bundle) is None]
        if self._use != "use" or not asked or not self._cache.path.exists():
            return {}
        await self._know({id(task.assignment): task.assignment for task in asked}.values())
        return await asyncio.to_thread(self._look, asked)

    async def results(self, tasks: Sequence[Task], hits: Mapping[str, Hit]) -> AsyncIterator[list[TaskResult]]:
        """Yield the results of the tasks that have a hit, many at a time; those that do not hold any more are left out.

        Args:
            tasks: The tasks.
            hits: What `look` said.
        """
        wanted = [(task, hits[task.task_id]) for task in tasks if task.task_id in hits]
        for chunk in chunks(wanted, _CHUNK):
            results = await asyncio.to_thread(self._results, chunk)
            if results:
                yield results

    def leave_out(self, bundles: Iterable[str]) -> None:
        """Keep nothing of these bundles: the server does not heed their constraint, and the key says that it does."""
        self._left_out.update(bundles)

    async def keep(self, result: TaskResult) -> None:
        """Keep the result of a task that finished; others, and those of which nobody knows what they read, are not."""
        record, task = result.record, result.task
        kept = result.outcome == "finished" and not result.cached and all(check.passed for check in result.checks)
        if self._said or not kept or record is None or record.untracked or why_uncachable(task.bundle):
            return
        if task.bundle.name in self._left_out:
            return
        try:
            await self._know([task.assignment])
        except (EngineError, OSError) as error:
            self._said = f"nothing is kept in the cache: {error}"
            return
        scene = self._scene(task.assignment)
        if scene is not None:
            self._writer.put(_entry(make_key(task, scene), result))

    async def aclose(self) -> None:
        """Store what waits, and close the file."""
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._cache.close)

    async def key(self, task: Task) -> TaskKey | None:
        """Return what a task's result is stored under; None where it is never kept.

        Raises:
            BackendError: The server does not say what it is.
        """
        await self._know([task.assignment])
        scene = self._scene(task.assignment)
        return None if scene is None else make_key(task, scene)

    async def _know(self, assignments: Iterable[Assignment]) -> None:
        """Find out what determines the results of assignments, beside their nodes."""
        async with self._asking:
            for assignment in assignments:
                if id(assignment) not in self._scenes:
                    # The assignment is held, so that its id stays its own.
                    self._scenes[id(assignment)] = assignment, await self._made(assignment)

    async def _made(self, assignment: Assignment) -> Scene | None:
        if why_uncachable(assignment.bundle) is not None:
            return None
        served = await identity_of(self._services.backend, assignment.model)
        return await asyncio.to_thread(make_scene, assignment, served)

    def _scene(self, assignment: Assignment) -> Scene | None:
        return self._scenes[id(assignment)][1]

    def _look(self, tasks: Sequence[Task]) -> dict[str, Hit]:
        holds = Holds(self._services.root)
        hits: dict[str, Hit] = {}
        for part in chunks(tasks, _LOOKED_UP):
            hits.update(self._look_at(part, holds))
        return hits

    def _look_at(self, tasks: Sequence[Task], holds: Holds) -> Iterator[tuple[str, Hit]]:
        keys: dict[str, str] = {}
        for task in tasks:
            scene = self._scene(task.assignment)
            if scene is not None:
                keys[task.task_id] = make_key(task, scene).digest
        found = self._found(keys.values())
        for task in tasks:
            entry = _match(task, found.get(keys.get(task.task_id, ""), ()), holds)
            if entry is not None:
                yield task.task_id, entry.as_hit()

    def _found(self, keys: Iterable[str]) -> dict[str, list[Entry]]:
        try:
            return self._cache.find(keys)
        except ConfigError as error:
            self._said = str(error)
            return {}

    def _results(self, wanted: Sequence[tuple[Task, Hit]]) -> list[TaskResult]:
        try:
            entries = {entry.id: entry for entry in self._cache.entries([hit.entry for _, hit in wanted])}
            writes = self._cache.writes(list(entries.values()))
        except ConfigError as error:
            self._said = str(error)
            return []
        projects: dict[int, Snapshot] = {}
        found, taken = [], []
        for task, hit in wanted:
            entry = entries.get(hit.entry)
            if entry is None or entry.key != hit.key or entry.id not in writes:
                continue
            permissions = task.bundle.manifest.permissions
            if id(permissions) not in projects:
                projects[id(permissions)] = Snapshot(self._services.root, permissions)
            result = result_now(task, entry, writes[entry.id], projects[id(permissions)])
            if result is not None:
                found.append(result)
                taken.append(entry.id)
        self._writer.touch(taken)
        return found


def open_run_cache(services: Services, use: CacheUse | None) -> RunCache | None:
    """Return the way to the project's cache, or None where it is not made use of; nothing is opened yet."""
    return None if use is None else RunCache(services, use)


def _match(task: Task, entries: Iterable[Entry], holds: Holds) -> Entry | None:
    """Return the newest entry for which everything that was read is the same now."""
    source = text_digest(task.node.text.replace("\r\n", "\n"))
    permissions = task.bundle.manifest.permissions
    for entry in entries:
        try:
            if entry.source in (None, source) and holds.all(entry.questions, permissions, task.base):
                return entry
        except (TypeError, ValueError):  # a row that was damaged
            continue
    return None


def _entry(key: TaskKey, result: TaskResult) -> NewEntry:
    task, record = result.task, result.record
    assert record is not None  # noqa: S101 - only such results are kept
    said = {
        "reason": result.reason,
        "summary": result.summary,
        "turns": result.turns,
        "adapter": result.adapter,
        "checks": [list(check) for check in result.checks],
    }
    return NewEntry(
        key.digest,
        key.scene.digest,
        key.scene.text,
        task.bundle.name,
        task.task_id,
        task.node.node_id,
        f"{task.node.file_path}::{task.node.qualified_name}",
        key.node,
        key.note,
        record.reads,
        record.source,
        said,
        result.usage,
        result.seconds,
        record.writes,
    )

"""A runner that asks the cache before it runs a task, and gives it what came of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from engine.errors import BackendError
from engine.events import Bus
from engine.run.cache.hit import Hit
from engine.run.cache.using import RunCache
from engine.run.execute import TaskRunner
from engine.run.plan import Task
from engine.run.task import TaskResult


class CachedRunner:
    """Takes results from the cache where it has them, and keeps those of the tasks that are run.

    Args:
        inner: Where the other tasks run.
        cache: The cache.
        hits: What the cache has, by task id.
    """

    def __init__(self, inner: TaskRunner, cache: RunCache, hits: Mapping[str, Hit]) -> None:
        self._inner, self._cache, self._hits = inner, cache, hits

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task, if need be."""
        async for results in self._cache.results([task], await self._look(task)):
            return results[0]
        result = await self._inner.run(task, bus, run_id)
        await self._cache.keep(result)
        return result

    async def _look(self, task: Task) -> Mapping[str, Hit]:
        """Return what the cache has for a task; for one that comes after others, with what they offered."""
        if not task.assignment.after:
            return self._hits
        with contextlib.suppress(BackendError):
            return await self._cache.look([task])
        return {}

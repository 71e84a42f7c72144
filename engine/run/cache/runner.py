"""A runner that asks the cache before it runs a task, and gives it what came of it."""

from __future__ import annotations

from collections.abc import Mapping

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
        """Run one task, if need be; what one of others' pending changes came to is not kept."""
        if task.base:
            return await self._inner.run(task, bus, run_id)
        async for results in self._cache.results([task], self._hits):
            return results[0]
        result = await self._inner.run(task, bus, run_id)
        await self._cache.keep(result)
        return result

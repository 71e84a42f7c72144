"""Many tasks at once: bounded, isolated, stoppable."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import Any, Protocol

from engine.events import Bus, ChangeOffered, TaskFinished, TaskStarted
from engine.run.plan import Task
from engine.run.stage import Services
from engine.run.task import TaskResult, run_task

_log = logging.getLogger("engine.run")

Offer = Callable[[TaskResult], Awaitable[None]]


def _all(result: TaskResult) -> TaskResult:
    return result


class TaskRunner(Protocol):
    """Where one task runs; `engine.run.executors` has them."""

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task; every failure becomes its result, only cancellation passes through."""
        ...


class Schedule(Protocol):
    """Which task starts next, and when.

    Attributes:
        stopped: Why it hands out no more tasks though some are left; empty while it does.
    """

    stopped: str

    def begin(self) -> Sequence[TaskResult]:
        """Return the results of tasks that are skipped for what an earlier part of the run came to."""
        ...

    async def next(self) -> Task | None:
        """Wait until a task may start, and return it; None when none is left."""
        ...

    def ended(self, result: TaskResult) -> Sequence[TaskResult]:
        """Hear of a task's end; return the results of tasks that are skipped for it."""
        ...


class LocalRunner:
    """Runs tasks in this process.

    Args:
        services: What the tasks share.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task."""
        return await run_task(task, self._services, bus, run_id)


class InOrder:
    """Tasks in the order of the plan, a fixed number at once.

    Args:
        tasks: The tasks.
        concurrency: Tasks at once.
    """

    def __init__(self, tasks: Sequence[Task], concurrency: int) -> None:
        self._tasks = iter(tasks)
        self._slots = asyncio.Semaphore(max(1, concurrency))
        self.stopped = ""

    def begin(self) -> Sequence[TaskResult]:
        """Skip nothing."""
        return ()

    async def next(self) -> Task | None:
        """Wait for a free slot and return the next task."""
        await self._slots.acquire()
        return next(self._tasks, None)

    def ended(self, result: TaskResult) -> Sequence[TaskResult]:  # noqa: ARG002 - nothing depends on another here
        """Free the task's slot."""
        self._slots.release()
        return ()


class NotStoredError(Exception):
    """What a task came to cannot be stored, so that the run has to stop; the message says why."""


class Executor:
    """Runs the tasks of a schedule; what one task does never touches another.

    Args:
        runner: Where each task runs.
        bus: Gets every event.
        run_id: Stamped on the events.
        offer: Called with each ended task before its TaskFinished event; stores its changes, or raises NotStoredError.
        keep: Returns what is kept of a result: a run of many tasks does not hold all their changes.
    """

    def __init__(
        self,
        runner: TaskRunner,
        bus: Bus,
        run_id: str,
        *,
        offer: Offer,
        keep: Callable[[TaskResult], TaskResult] = _all,
    ) -> None:
        self._runner, self._bus, self._run_id, self._offer, self._keep = runner, bus, run_id, offer, keep
        self.results: list[TaskResult] = []
        self.problem: str | None = None

    async def run(self, schedule: Schedule, seconds: float) -> str:
        """Run all tasks; return finished, failed or stopped. Cancellation stops cleanly and passes through."""
        try:
            async with asyncio.timeout(seconds):
                if self.problem is None:
                    await self._run_all(schedule)
        except TimeoutError:
            self.problem = f"the run's {seconds:g} seconds are used up"
        self.problem = self.problem or schedule.stopped or None
        if self.problem is not None:
            return "stopped"
        failed = any(result.outcome != "finished" for result in self.results)
        return "failed" if failed else "finished"

    async def take(
        self, chunks: AsyncIterator[Sequence[TaskResult]], store: Callable[[Sequence[TaskResult]], Awaitable[None]]
    ) -> set[str]:
        """Take results that need no run, such as those of the cache; return the ids of their tasks.

        Args:
            chunks: The results, many at a time.
            store: Stores the changes of many results, or raises NotStoredError.
        """
        taken: set[str] = set()
        try:
            async for results in chunks:
                await _whole(store(results))
                for result in results:
                    task_id = result.task.task_id
                    await self._bus.emit(TaskStarted(run_id=self._run_id, task_id=task_id, **_identity(result.task)))
                    await self.finish(result)
                    taken.add(task_id)
        except NotStoredError as exc:
            self.problem = str(exc)
        return taken

    async def _run_all(self, schedule: Schedule) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for skipped in schedule.begin():
                    await self.finish(skipped)
                while (task := await schedule.next()) is not None:
                    group.create_task(self._work(task, schedule))
        except* NotStoredError as problems:
            self.problem = str(problems.exceptions[0])

    async def _work(self, task: Task, schedule: Schedule) -> None:
        result = await self._run_one(task)
        for skipped in schedule.ended(result):
            await self.finish(skipped)

    async def _run_one(self, task: Task) -> TaskResult:
        await self._bus.emit(TaskStarted(run_id=self._run_id, task_id=task.task_id, **_identity(task)))
        try:
            result = await self._runner.run(task, self._bus, self._run_id)
        except asyncio.CancelledError:
            await self.finish(TaskResult(task, "stopped", "cancelled", error="the run ended before the task did"))
            raise
        except Exception as exc:  # noqa: BLE001 - whatever breaks one task must not reach the others
            _log.error("task %s broke", task.task_id, exc_info=exc)
            result = TaskResult(task, "failed", "error", error=f"{type(exc).__name__}: {exc}")
        await self._store(result)
        return result

    async def _store(self, result: TaskResult) -> None:
        try:
            # What is done counts: a stop waits until it is stored.
            await (_whole(self._offer(result)) if result.changes else self._offer(result))
        except asyncio.CancelledError:
            await self.finish(result)
            raise
        except NotStoredError as exc:
            await self.finish(TaskResult(result.task, "stopped", "not_stored", error=str(exc), usage=result.usage))
            raise
        await self.finish(result)

    async def finish(self, result: TaskResult, told: Collection[str] = ()) -> None:
        """Tell of a task's end, and keep its result.

        Args:
            result: What came of the task.
            told: Files of its changes that were told of before.
        """
        ids: dict[str, Any] = {"run_id": self._run_id, "task_id": result.task.task_id}
        for change in result.changes:
            if change.path in told:
                continue
            size: dict[str, Any] = {"added": change.added, "removed": change.removed}
            passed = all(check.passed for check in result.checks)
            await self._bus.emit(ChangeOffered(**ids, file=change.path, kind=change.kind, **size, passed=passed))
        await self._bus.emit(
            TaskFinished(
                **ids,
                **_identity(result.task),
                outcome=result.outcome,
                reason=result.reason,
                error=result.error,
                summary=result.summary,
                changed_files=tuple(change.path for change in result.changes),
                turns=result.turns,
                seconds=result.seconds,
                usage=result.usage,
                adapter=result.adapter,
                cached=result.cached,
                attempts=result.attempts,
                checks=tuple(check._asdict() for check in result.checks),
                cost=result.cost,
            )
        )
        self.results.append(self._keep(result))


async def _whole(work: Awaitable[None]) -> None:
    """Wait until something is done, also when the waiting is cancelled meanwhile.

    Raises:
        CancelledError: It was cancelled meanwhile, and the work is done.
    """
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.shield(doing)
    except asyncio.CancelledError:
        await asyncio.wait([doing])
        doing.result()
        raise


def _identity(task: Task) -> dict[str, Any]:
    node = task.node
    return {
        "bundle": task.bundle.name,
        "node_id": node.node_id,
        "node": node.qualified_name,
        "file": node.file_path,
        "line": node.start_line,
    }

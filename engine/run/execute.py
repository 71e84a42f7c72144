"""Many tasks at once: bounded, isolated, stoppable."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.events import Bus, ChangeOffered, RunFinished, TaskFinished, TaskStarted
from engine.messages import Usage
from engine.run.plan import Task
from engine.run.stage import Services
from engine.run.task import TaskResult, run_task
from engine.workspace import Change, Decision

_log = logging.getLogger("engine.run")

Offer = Callable[[TaskResult], Awaitable[None]]


class TaskRunner(Protocol):
    """Where one task runs; `engine.run.executors` has them."""

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task; every failure becomes its result, only cancellation passes through."""
        ...


class Schedule(Protocol):
    """Which task starts next, and when."""

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

    async def next(self) -> Task | None:
        """Wait for a free slot and return the next task."""
        await self._slots.acquire()
        return next(self._tasks, None)

    def ended(self, result: TaskResult) -> Sequence[TaskResult]:  # noqa: ARG002 - nothing depends on another here
        """Free the task's slot."""
        self._slots.release()
        return ()


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    Attributes:
        run_id: The run.
        status: finished (no task failed), failed, stopped (out of time) or interrupted.
        tasks: The results, in the order in which the tasks ended.
        seconds: Time on the clock.
        decisions: What became of the changes, where the run accepted some itself.
    """

    run_id: str
    status: str
    # Not in the repr, which asyncio makes of every result: it may hold thousands of changes.
    tasks: tuple[TaskResult, ...] = field(repr=False)
    seconds: float
    decisions: tuple[Decision, ...] = ()

    @property
    def changes(self) -> list[Change]:
        """All offered changes."""
        return [change for task in self.tasks for change in task.changes]

    @property
    def usage(self) -> Usage:
        """Tokens of all tasks but those from the cache."""
        return sum((task.usage for task in self.tasks if not task.cached), Usage())

    def count(self, outcome: str) -> int:
        """Return how many tasks had this outcome."""
        return sum(task.outcome == outcome for task in self.tasks)


class Executor:
    """Runs the tasks of a schedule; what one task does never touches another.

    Args:
        runner: Where each task runs.
        bus: Gets every event.
        run_id: Stamped on the events.
        offer: Called with each finished task before its TaskFinished event; stores its changes.
    """

    def __init__(self, runner: TaskRunner, bus: Bus, run_id: str, *, offer: Offer) -> None:
        self._runner, self._bus, self._run_id, self._offer = runner, bus, run_id, offer
        self.results: list[TaskResult] = []

    async def run(self, schedule: Schedule, seconds: float) -> str:
        """Run all tasks; return finished, failed or stopped. Cancellation stops cleanly and passes through."""
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                while (task := await schedule.next()) is not None:
                    group.create_task(self._work(task, schedule))
        except TimeoutError:
            return "stopped"
        failed = any(result.outcome != "finished" for result in self.results)
        return "failed" if failed else "finished"

    async def _work(self, task: Task, schedule: Schedule) -> None:
        result = await self._run_one(task)
        for skipped in schedule.ended(result):
            await self._finish(skipped)

    async def _run_one(self, task: Task) -> TaskResult:
        await self._bus.emit(TaskStarted(run_id=self._run_id, task_id=task.task_id, **_identity(task)))
        try:
            result = await self._runner.run(task, self._bus, self._run_id)
            await self._offer(result)
        except asyncio.CancelledError:
            await self._finish(TaskResult(task, "stopped", "cancelled", error="the run ended before the task did"))
            raise
        except Exception as exc:  # noqa: BLE001 - whatever breaks one task must not reach the others
            _log.error("task %s broke", task.task_id, exc_info=exc)
            result = TaskResult(task, "failed", "error", error=f"{type(exc).__name__}: {exc}")
        await self._finish(result)
        return result

    async def _finish(self, result: TaskResult) -> None:
        self.results.append(result)
        ids: dict[str, Any] = {"run_id": self._run_id, "task_id": result.task.task_id}
        for change in result.changes:
            offered = ChangeOffered(
                **ids, file=change.path, kind=change.kind, added=change.added, removed=change.removed
            )
            await self._bus.emit(offered)
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


def _identity(task: Task) -> dict[str, Any]:
    node = task.node
    return {
        "bundle": task.bundle.name,
        "node_id": node.node_id,
        "node": node.qualified_name,
        "file": node.file_path,
        "line": node.start_line,
    }


def run_finished(run_id: str, status: str, results: Sequence[TaskResult], started: float) -> RunFinished:
    """Return the run's last event.

    Args:
        run_id: The run.
        status: Its status.
        results: What the tasks came to.
        started: `time.monotonic()` at its start.
    """
    outcomes = Counter(result.outcome for result in results)
    return RunFinished(
        run_id=run_id,
        status=status,
        finished=outcomes["finished"],
        failed=outcomes["failed"],
        stopped=outcomes["stopped"],
        skipped=outcomes["skipped"],
        cached=sum(result.cached for result in results),
        changes=sum(len(result.changes) for result in results),
        seconds=round(time.monotonic() - started, 3),
        usage=sum((result.usage for result in results if not result.cached), Usage()),
    )

"""The schedule of a run: what may start, what waits for what, and what a failure means for the rest."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

from engine.events import TaskRow
from engine.run.plan import Assignment, Task
from engine.run.resume import BROKEN_OFF
from engine.run.routing import adapter_groups
from engine.run.schedule.dependencies import dependencies, lost_tasks, predecessors, urgency
from engine.run.schedule.order import Order, Place
from engine.run.task import BUDGET, TaskResult

OnFailure = Literal["skip_dependents", "continue", "stop"]
# A turn of one bundle is at least this many small tasks: enough to profit from what their prompts share.
_TURN = 16
# A node of this many characters is twice the work of an empty one.
_SIZE = 4000


class Timetable:
    """Hands out the tasks of a run, each once, never more than `limit` at a time.

    First come the higher priorities; bundles of one priority take turns, and within a bundle the tasks of one adapter
    and then of one file follow each other. A task is handed out when those that it comes after have ended. Nothing is
    kept for a task that waits but a few numbers.

    Args:
        tasks: The tasks, in the order of the plan.
        limit: Tasks at once.
        on_failure: What becomes of the others when a task does not finish.
        earlier: Returns the rows of the tasks that ended in an earlier part of the run, and are not among `tasks`.
        ready: Awaited before a task is handed out, so that none starts while the server does not answer.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        limit: int,
        *,
        on_failure: OnFailure = "skip_dependents",
        earlier: Callable[[], Iterable[TaskRow]] | None = None,
        ready: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.stopped = ""
        self._tasks, self._limit, self._on_failure, self._ready = tasks, max(1, limit), on_failure, ready
        self._running, self._wake = 0, asyncio.Event()
        self._cost = array("f", (1 + len(task.node.text) / _SIZE for task in tasks))
        self._place, places = _places(tasks)
        self._order = Order(places, max(_TURN, self._limit))
        self._waits = array("I", bytes(4 * len(tasks)))
        self._then: dict[str, list[int]] = {}
        self._open = bytearray(b"\1" * len(tasks))
        self._left = len(tasks)
        self._before = predecessors(_assignments(tasks))
        for first, then in dependencies(tasks, self._before):
            self._then.setdefault(tasks[first].task_id, []).append(then)
            self._waits[then] += 1
        self._earlier = earlier

    def begin(self) -> Sequence[TaskResult]:
        """Let start what waits for nothing; return the results of tasks that come after one which did not finish."""
        for at in range(len(self._tasks)):
            if not self._waits[at]:
                self._order.add(at, self._place[at])
        if self._earlier is None or self._on_failure == "continue" or not any(self._before.values()):
            return []
        lost = lost_tasks(self._tasks, self._before, self._earlier())
        return [result for at, row in lost.items() for result in self._skip(row.task_id, row.state, [at])]

    async def next(self) -> Task | None:
        """Wait until a task may start, and return it; None when none is left, or the run is to stop."""
        while not self.stopped and self._left:
            if self._order and self._running < self._limit:
                if self._ready is not None:
                    await self._ready()
                task = self._take()
                if task is not None:
                    return task
                continue
            self._wake.clear()
            await self._wake.wait()
        return None

    def _take(self) -> Task | None:
        at = None if self.stopped else self._order.take(self._cost)
        if at is None or not self._open[at]:
            return None
        self._close(at)
        self._running += 1
        return self._tasks[at]

    def _close(self, at: int) -> None:
        self._open[at] = 0
        self._left -= 1

    def stop(self, reason: str) -> None:
        """Hand out no further task; those that run go on.

        Args:
            reason: Why, in one line.
        """
        self.stopped = self.stopped or reason
        self._wake.set()

    def ended(self, result: TaskResult) -> Sequence[TaskResult]:
        """Hear of a task's end; return the results of tasks that are skipped for it."""
        self._running -= 1
        self._wake.set()
        task, outcome = result.task, result.outcome
        if result.reason in BUDGET:
            self.stop(result.error or "the run's budget is used up")
            return ()
        if outcome == "stopped" and result.reason in BROKEN_OFF:
            self._close_all(list(self._then.get(task.task_id, ())))  # they stay planned, as it is left to do itself
            return ()
        if self._on_failure == "stop" and outcome != "finished":
            self.stop(f"task {task.task_id} ({task.node.qualified_name}) {_ENDS.get(outcome, 'did not finish')}")
            return ()
        return self._settle(task.task_id, outcome)

    def _settle(self, task_id: str, outcome: str) -> list[TaskResult]:
        """Let go or skip what comes after a task that has ended."""
        if outcome != "finished" and self._on_failure != "continue":
            return self._skip(task_id, outcome, list(self._then.get(task_id, ())))
        self._release(task_id)
        return []

    def _release(self, task_id: str) -> None:
        for at in self._then.get(task_id, ()):
            self._waits[at] -= 1
            if self._open[at] and not self._waits[at]:
                self._order.add(at, self._place[at])

    def _skip(self, task_id: str, outcome: str, todo: list[int]) -> list[TaskResult]:
        """Close the tasks that come after one that did not finish, and those that come after them."""
        why = f"it comes after {task_id}, which {_ENDS.get(outcome, 'did not finish')}"
        return [TaskResult(self._tasks[at], "skipped", "after", error=why) for at in self._close_all(todo)]

    def _close_all(self, todo: list[int]) -> list[int]:
        """Close tasks, and those that come after them; return all that were open, in their order."""
        closed: list[int] = []
        while todo:
            at = todo.pop()
            if self._open[at]:
                self._close(at)
                closed.append(at)
                todo += self._then.get(self._tasks[at].task_id, ())
        return sorted(closed)


_ENDS = {"failed": "failed", "stopped": "was stopped", "skipped": "was skipped", "parked": "waits for an answer"}


def _assignments(tasks: Sequence[Task]) -> list[Assignment]:
    return list({id(task.assignment): task.assignment for task in tasks}.values())


def _places(tasks: Sequence[Task]) -> tuple[array[int], list[Place]]:
    """Return the index of each task's Place, and the places."""
    assignments = _assignments(tasks)
    levels = urgency(assignments, predecessors(assignments))
    shares = {id(one): at for at, one in enumerate(assignments)}
    known: dict[Place, int] = {}
    found = array("I")
    for task, lane in zip(tasks, adapter_groups(tasks), strict=True):
        share = shares[id(task.assignment)]
        found.append(known.setdefault(Place(levels[share], share, lane), len(known)))
    return found, list(known)

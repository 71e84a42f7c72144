"""What came of a run: this part of it, and what was there before where it is gone on with."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, overload

from engine.events import RunFinished, Used
from engine.events.used import NOTHING
from engine.messages import Usage
from engine.run.task import TaskResult
from engine.workspace import Change, ChangeStore, Decision


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the tasks of a run came to before it was gone on with, but for those that are tried again.

    Attributes:
        outcomes: How many tasks had each outcome.
        changes: Changes offered.
        cached: Tasks whose result came from the cache.
        used: What all tries used, also of those that are tried again; without what the cache saved.
        seconds: Time on the clock.
        saved: Tokens that the results from the cache had cost.
    """

    outcomes: Mapping[str, int] = field(default_factory=dict)
    changes: int = 0
    cached: int = 0
    used: Used = NOTHING
    seconds: float = 0.0
    saved: int = 0

    @property
    def tasks(self) -> int:
        """How many tasks have ended."""
        return sum(self.outcomes.values())

    def count(self, outcome: str) -> int:
        """Return how many tasks had this outcome."""
        return self.outcomes.get(outcome, 0)


NOTHING_EARLIER = Earlier()


class StoredChanges(Sequence[Change]):
    """The changes of a task, read from the store when they are looked at; a run of many tasks does not hold them.

    Args:
        store: The change store.
        run_id: The run.
        task_id: The task; None for all of the run.
        count: How many there are.
    """

    __slots__ = ("_count", "_run_id", "_store", "_task_id")

    def __init__(self, store: ChangeStore, run_id: str, task_id: str | None, count: int) -> None:
        self._store, self._run_id, self._task_id, self._count = store, run_id, task_id, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Change]:
        return iter([row.change for row in self._store.list(self._run_id, self._task_id)])

    @overload
    def __getitem__(self, index: int) -> Change: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Change]: ...
    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


@dataclass(frozen=True, slots=True)
class RunResult:
    """What came of a run.

    Attributes:
        run_id: The run.
        status: finished (no task failed), failed, stopped (out of time, or nothing can be stored) or interrupted.
        tasks: The results, in the order in which the tasks ended; where the run was gone on with, of this part only.
        seconds: Time on the clock, of all parts.
        decisions: What became of the changes, where the run accepted some itself.
        problem: Why it was stopped, where that was not asked for.
        earlier: What was there before, where the run was gone on with.
        stored: All changes of the run.
        usage: Tokens of all parts and of all tries, without what the cache saved.
        cost: What they cost; None where a price is not declared.
    """

    run_id: str
    status: str
    # Not in the repr, which asyncio makes of every result: it may be long.
    tasks: tuple[TaskResult, ...] = field(repr=False)
    seconds: float
    decisions: tuple[Decision, ...] = ()
    problem: str | None = None
    earlier: Earlier = NOTHING_EARLIER
    stored: Sequence[Change] | None = field(default=None, repr=False)
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None

    @property
    def changes(self) -> list[Change]:
        """All offered changes, also those of earlier parts."""
        return list(self.stored) if self.stored is not None else [one for task in self.tasks for one in task.changes]

    @property
    def change_count(self) -> int:
        """How many changes were offered."""
        return self.earlier.changes + sum(len(task.changes) for task in self.tasks)

    def count(self, outcome: str) -> int:
        """Return how many tasks had this outcome."""
        return self.earlier.count(outcome) + sum(task.outcome == outcome for task in self.tasks)


def run_finished(
    run_id: str, status: str, results: Sequence[TaskResult], started: float, earlier: Earlier
) -> RunFinished:
    """Return the run's last event, without what the run used.

    Args:
        run_id: The run.
        status: Its status.
        results: What the tasks came to.
        started: `time.monotonic()` at its start.
        earlier: What was there before, where the run was gone on with.
    """
    outcomes = Counter(result.outcome for result in results) + Counter(earlier.outcomes)
    return RunFinished(
        run_id=run_id,
        status=status,
        finished=outcomes["finished"],
        failed=outcomes["failed"],
        stopped=outcomes["stopped"],
        skipped=outcomes["skipped"],
        cached=earlier.cached + sum(result.cached for result in results),
        changes=earlier.changes + sum(len(result.changes) for result in results),
        seconds=round(earlier.seconds + time.monotonic() - started, 3),
    )

"""Where what a run does is kept: its events in the log, its changes in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from engine.errors import ConfigError
from engine.events import Event, EventLog, StoredEvent
from engine.run.execute import NotStoredError
from engine.run.results import StoredChanges
from engine.run.review import offer_of
from engine.run.task import TaskResult
from engine.workspace import ChangeStore

Mirror = Callable[[StoredEvent], None]


class Recorder:
    """The observer that logs, and shows what it logged.

    Args:
        log: The event log.
        mirror: Gets every event as the log stores it.
    """

    def __init__(self, log: EventLog, mirror: Mirror | None) -> None:
        self._log, self._mirror = log, mirror

    async def on_event(self, event: Event) -> None:
        """Log an event."""
        stored = self._log.append(event)
        if self._mirror is not None:
            self._mirror(stored)


async def offer_one(store: ChangeStore, run_id: str, result: TaskResult) -> None:
    """Store the changes of a task, all or none.

    Raises:
        NotStoredError: They cannot be stored.
    """
    await offer_all(store, run_id, [result])


@dataclass(slots=True)
class _Waiting:
    """A result whose changes are to be stored."""

    result: TaskResult
    stored: bool = False
    problem: NotStoredError | None = None


class Offering:
    """Stores the changes of tasks as they end; those that end while others are stored share the next commit.

    Args:
        store: The change store.
        run_id: The run.
    """

    def __init__(self, store: ChangeStore, run_id: str) -> None:
        self._store, self._run_id = store, run_id
        self._queue: list[_Waiting] = []
        self._storing = asyncio.Lock()

    async def offer(self, result: TaskResult) -> None:
        """Store the changes of a task, all or none, and return when they are.

        Raises:
            NotStoredError: They cannot be stored.
        """
        if not result.changes:
            return
        mine = _Waiting(result)
        self._queue.append(mine)
        async with self._storing:
            if not mine.stored and mine.problem is None:
                await self._store_queue()
        if mine.problem is not None:
            raise mine.problem

    async def _store_queue(self) -> None:
        batch, self._queue = self._queue, []
        try:
            await offer_all(self._store, self._run_id, [one.result for one in batch])
        except NotStoredError as problem:
            for one in batch:
                one.problem = problem
        else:
            for one in batch:
                one.stored = True


async def offer_all(store: ChangeStore, run_id: str, results: Sequence[TaskResult]) -> None:
    """Store the changes of tasks, all or none.

    Raises:
        NotStoredError: They cannot be stored.
    """
    offers = [offer_of(run_id, result) for result in results if result.changes]
    if not offers:
        return
    try:
        await asyncio.to_thread(store.offer_many, offers)
    except ConfigError as exc:
        raise NotStoredError(f"the changes of {offers[0].node} cannot be stored: {exc}") from exc


def slim(store: ChangeStore, run_id: str, result: TaskResult) -> TaskResult:
    """Leave the contents of changes to the store, and what a task read to the cache, which has it by now."""
    kept = StoredChanges(store, run_id, result.task.task_id, len(result.changes)) if result.changes else ()
    return replace(result, changes=kept, record=None)

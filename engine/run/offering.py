"""Where what a run does is kept: its events in the log, its changes in the store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace

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
    except (sqlite3.Error, OSError) as exc:
        node = offers[0].node
        raise NotStoredError(f"the changes of {node} cannot be stored: {exc}; check the free space") from exc


def slim(store: ChangeStore, run_id: str, result: TaskResult) -> TaskResult:
    """Leave the contents of changes to the store."""
    if not result.changes:
        return result
    return replace(result, changes=StoredChanges(store, run_id, result.task.task_id, len(result.changes)))

"""The one thread of a process that writes to the event log: a queue in, whole transactions out."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from engine.errors import LogError
from engine.events.records import StoredEvent
from engine.events.task_rows import Planned
from engine.events.trouble import FileGoneError, log_error, may_pass
from engine.events.used import Using, store

_LINGER = 0.003  # seconds that a first event waits for others to share its commit
_RETRY = 0.25  # seconds until a failed commit is tried again
_BATCH = 2000
_INSERT = "INSERT INTO events (run_id, seq, time, type, task_id, data) VALUES (?, ?, ?, ?, ?, ?)"

Statement = tuple[str, tuple[Any, ...]]
Item = StoredEvent | Planned | Using | Statement


class _Marker:
    """Asks the thread to commit all that came before, and to tell how that went."""

    def __init__(self, *, last: bool) -> None:
        self.last = last
        self.done = threading.Event()
        self.error: Exception | None = None
        self.unstored = 0


class Writer:
    """Commits what is put, in order, each item exactly once; the items of one list come in the same commit.

    A commit that fails keeps its items and is tried again; what is still not stored when `finish` asks is its error.
    Another process may write events of the same run meanwhile: ours are then numbered after theirs, so the sequence of
    a run stays gapless.

    Args:
        connection: The open file.
        path: The file.
        patience: Seconds for which commits may fail for a reason that may pass, such as a lock.

    Attributes:
        problem: Why nothing can be stored, once the patience is over or the reason will not pass by itself.
        heard: Called, in the writer's thread, when there is a problem.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, patience: float) -> None:
        self._connection, self._path, self._patience = connection, path, patience
        self._identity = _identity(path)
        self._queue: SimpleQueue[Item | list[Item] | _Marker] = SimpleQueue()
        self._hurry = threading.Event()
        self._pending: list[Item] = []
        self._not_before = 0.0
        self._failing_since: float | None = None
        self._seen_version: int | None = None
        self._shifts: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self.problem: LogError | None = None
        self.heard: list[Callable[[], object]] = []
        self.put = self._queue.put

    def start(self) -> None:
        """Start the thread; the caller holds the lock that `put` is ordered by."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="engine-event-log", daemon=True)
            self._thread.start()

    def finish(self, *, last: bool) -> None:
        """Wait until all is stored; with `last` the thread ends and the connection is closed.

        Raises:
            LogError: Something is not stored; with `last` it is lost.
        """
        thread = self._thread
        if thread is None:
            if last:
                self._connection.close()
            return
        marker = _Marker(last=last)
        self._queue.put(marker)
        self._hurry.set()
        while thread.is_alive() and not marker.done.wait(0.5):
            pass  # a marker behind the last one is never answered, and has nothing to wait for
        if last:
            thread.join()
        if marker.error is not None:
            fate = f"{marker.unstored} events are {'lost' if last else 'not stored yet'}"
            raise log_error(self._path, "written", marker.error, fate) from marker.error

    def report(self, problem: LogError) -> None:
        """Have a problem, if there is none yet, and tell of it."""
        if self.problem is None:
            self.problem = problem
            for hear in tuple(self.heard):
                hear()

    def _work(self) -> None:
        last, error = False, None
        while not last:
            markers = self._collect()
            if markers or time.monotonic() >= self._not_before:
                error = self._try_commit()
            last = any(marker.last for marker in markers)
            if last:
                self._connection.close()
            for marker in markers:
                marker.error = error
                marker.unstored = sum(isinstance(item, StoredEvent) for item in self._pending)
                marker.done.set()

    def _collect(self) -> list[_Marker]:
        """Move what waits in the queue to the pending items; return the markers among it."""
        markers: list[_Marker] = []
        with contextlib.suppress(Empty):
            item = self._queue.get(timeout=_RETRY if self._pending else None)
            if not isinstance(item, _Marker):
                self._hurry.wait(_LINGER)
            self._sort_in(item, markers)
            for _ in range(_BATCH):
                self._sort_in(self._queue.get_nowait(), markers)
        return markers

    def _sort_in(self, item: Item | list[Item] | _Marker, markers: list[_Marker]) -> None:
        if isinstance(item, _Marker):
            markers.append(item)
            self._hurry.clear()
        elif isinstance(item, list):
            self._pending += item
        else:
            self._pending.append(item)

    def _try_commit(self) -> Exception | None:
        if not self._pending:
            return None
        try:
            self._commit()
        except Exception as error:  # noqa: BLE001 - whatever it was, it must reach the next flush and not end the thread
            self._fail(error)
            return error
        self._pending.clear()
        self._failing_since = None
        return None

    def _fail(self, error: Exception) -> None:
        now = time.monotonic()
        self._seen_version = None
        self._not_before = now + _RETRY
        self._failing_since = self._failing_since or now
        if not may_pass(error) or now - self._failing_since >= self._patience:
            self.report(log_error(self._path, "written", error))

    def _commit(self) -> None:
        execute = self._connection.execute
        if _identity(self._path) != self._identity:
            raise FileGoneError("it was deleted or replaced")
        execute("BEGIN IMMEDIATE")
        try:
            version = execute("PRAGMA data_version").fetchone()[0]
            if version != self._seen_version:
                self._renumber()
            # Nobody sees the order in which one commit's rows come in, and many at once cost half as much.
            self._connection.executemany(_INSERT, self._events())
            used: list[Using] = []
            for item in self._pending:
                if isinstance(item, StoredEvent):
                    continue
                if isinstance(item, Using):
                    used.append(item)
                elif isinstance(item, Planned):
                    item.store(self._connection)
                else:
                    execute(*item)
            store(self._connection, used)
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._seen_version = version

    def _events(self) -> Iterator[StoredEvent]:
        for item in self._pending:
            if isinstance(item, StoredEvent):
                shift = self._shifts.get(item.run_id)
                yield item._replace(seq=item.seq + shift) if shift else item

    def _renumber(self) -> None:
        """Let each run's pending numbers follow its stored ones: another process wrote since our last commit."""
        first: dict[str, int] = {}
        for item in self._pending:
            if isinstance(item, StoredEvent):
                first.setdefault(item.run_id, item.seq)
        for run_id, seq in first.items():
            row = self._connection.execute("SELECT max(seq) FROM events WHERE run_id = ?", (run_id,)).fetchone()
            self._shifts[run_id] = (row[0] or 0) + 1 - seq


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one at the same place; None when there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - half the price of Path.stat, and paid with each commit
    except OSError:
        return None
    return found.st_dev, found.st_ino

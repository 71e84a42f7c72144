"""The one thread of a process that writes to the event log: a queue in, whole transactions out."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from engine.errors import ConfigError
from engine.events.records import StoredEvent

_LINGER = 0.003  # seconds that a first event waits for others to share its commit
_RETRY = 0.25  # seconds until a failed commit is tried again
_BATCH = 2000
_INSERT = "INSERT INTO events (run_id, seq, time, type, task_id, data) VALUES (?, ?, ?, ?, ?, ?)"

Statement = tuple[str, tuple[Any, ...]]


class _Marker:
    """Asks the thread to commit all that came before, and to tell how that went."""

    def __init__(self, *, last: bool) -> None:
        self.last = last
        self.done = threading.Event()
        self.error: Exception | None = None
        self.unstored = 0


class Writer:
    """Commits what is put, in order, each statement exactly once.

    A commit that fails keeps its statements and is tried again; what is still not stored when `finish` asks is its
    error. Another process may write events of the same run meanwhile: ours are then numbered after theirs, so the
    sequence of a run stays gapless.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._queue: SimpleQueue[StoredEvent | Statement | _Marker] = SimpleQueue()
        self._hurry = threading.Event()
        self._pending: list[StoredEvent | Statement] = []
        self._not_before = 0.0
        self._seen_version: int | None = None
        self._shifts: dict[str, int] = {}
        self._thread: threading.Thread | None = None
        self.put = self._queue.put

    def start(self) -> None:
        """Start the thread; the caller holds the lock that `put` is ordered by."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="engine-event-log", daemon=True)
            self._thread.start()

    def finish(self, *, last: bool) -> None:
        """Wait until all is stored; with `last` the thread ends and the connection is closed.

        Raises:
            ConfigError: Something is not stored; with `last` it is lost.
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
            fate = "lost" if last else "not stored yet"
            raise ConfigError(
                f"the event log {self._path} cannot be written: {marker.error}; {marker.unstored} events are {fate}; "
                "check the free space and the permissions, or move a damaged file away"
            ) from marker.error

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
                marker.error, marker.unstored = error, len(self._pending)
                marker.done.set()

    def _collect(self) -> list[_Marker]:
        """Move what waits in the queue to the pending statements; return the markers among it."""
        markers: list[_Marker] = []
        with contextlib.suppress(Empty):
            item = self._queue.get(timeout=_RETRY if self._pending else None)
            if not isinstance(item, _Marker):
                self._hurry.wait(_LINGER)
            self._sort_in(item, markers)
            for _ in range(_BATCH):
                self._sort_in(self._queue.get_nowait(), markers)
        return markers

    def _sort_in(self, item: StoredEvent | Statement | _Marker, markers: list[_Marker]) -> None:
        if isinstance(item, _Marker):
            markers.append(item)
            self._hurry.clear()
        else:
            self._pending.append(item)

    def _try_commit(self) -> Exception | None:
        if not self._pending:
            return None
        try:
            self._commit()
        except Exception as error:  # noqa: BLE001 - whatever it was, it must reach the next flush and not end the thread
            self._seen_version = None
            self._not_before = time.monotonic() + _RETRY
            return error
        self._pending.clear()
        return None

    def _commit(self) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            version = execute("PRAGMA data_version").fetchone()[0]
            if version != self._seen_version:
                self._renumber()
            for item in self._pending:
                if isinstance(item, StoredEvent):
                    shift = self._shifts.get(item.run_id)
                    execute(_INSERT, item._replace(seq=item.seq + shift) if shift else item)
                else:
                    execute(*item)
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        self._seen_version = version

    def _renumber(self) -> None:
        """Let each run's pending numbers follow its stored ones: another process wrote since our last commit."""
        first: dict[str, int] = {}
        for item in self._pending:
            if isinstance(item, StoredEvent):
                first.setdefault(item.run_id, item.seq)
        for run_id, seq in first.items():
            row = self._connection.execute("SELECT max(seq) FROM events WHERE run_id = ?", (run_id,)).fetchone()
            self._shifts[run_id] = (row[0] or 0) + 1 - seq

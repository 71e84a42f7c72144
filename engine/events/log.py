"""The event log: an append-only SQLite file that any process may read while one writes."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from engine.errors import LogError
from engine.events.encode import dump, load
from engine.events.guard import Guard
from engine.events.liveness import this_process
from engine.events.reader import LogReader
from engine.events.records import StoredEvent, TaskRow, budgeted
from engine.events.schema import connect
from engine.events.task_rows import Planned, keep_true, storable
from engine.events.types import Event, RunFinished, RunResumed, RunStarted, TaskFinished, TaskStarted
from engine.events.used import Used, Using, used_by
from engine.events.writer import Statement, Writer

_ADD_RUN = "INSERT OR IGNORE INTO runs VALUES (?, ?, NULL, 'running', '{}', ?, ?, ?)"
_START_RUN = (
    "UPDATE runs SET ended = NULL, status = 'running', summary = ?, pid = ?, born = ?, place = ? WHERE run_id = ?"
)
_END_RUN = "UPDATE runs SET ended = ?, status = ?, summary = ? WHERE run_id = ?"


class EventLog(LogReader):
    """Writes and reads the event log; as an Observer it appends every event.

    One thread writes, off the event loop, many events per commit. An event is safe from the death of the process a few
    milliseconds after `append`, and after `flush` in any case. Closing (or leaving the `with` block) stores the rest;
    so does a normal exit of the interpreter.

    When nothing can be stored, `problem` says why and `guarding` ends what should not go on unlogged.

    Args:
        path: The file, such as `.engine/events.db`; made when missing, with its folder.
        patience: Seconds for which storing may fail for a reason that may pass (a lock, a full disk) before it is a
            problem; what waits is kept in memory and tried again.
        clock: Tells the time of events, in seconds since 1970 UTC; their order does not depend on it.

    Raises:
        LogError: The file is damaged, locked, cannot be opened, or is of a newer engine.
    """

    def __init__(self, path: str | Path, *, patience: float = 20, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        _make_folder(self.path.parent)
        self._writer = Writer(connect(self.path, timeout=min(5, patience)), self.path, patience)
        self._process, self._clock = this_process(), clock
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._summaries: dict[str, dict[str, Any]] = {}
        self._used: dict[str, Used] = {}
        self._closed = False
        self._refused: list[LogError] = []
        weakref.finalize(self, _finish_quietly, self._writer)

    @property
    def problem(self) -> LogError | None:
        """Why nothing can be stored any more; None while all is well."""
        return self._writer.problem

    def guarding(self) -> Guard:
        """Return an `async with` that cancels its body as soon as there is a problem, and raises that in its place."""
        return Guard(self._writer)

    async def on_event(self, event: Event) -> None:
        """Append an event of a Bus."""
        self.append(event)

    def append(self, event: Event) -> StoredEvent:
        """Queue an event for storage and return it with its number and time; costs a few microseconds and its JSON.

        The number is final unless another process writes events of the same run at the same moment; then the log
        counts on from theirs.

        Raises:
            LogError: The log is closed.
        """
        text = dump(event.payload())
        run_id, task_id = storable(event.run_id), storable(event.task_id)
        with self._lock:
            if self._closed:
                raise LogError(f"the event log {self.path} is closed")
            count = self._counts.get(run_id)
            now = self._clock()
            if count is None:
                count = self._add_run(run_id, now)
            self._counts[run_id] = count + 1
            stored = StoredEvent(run_id, count + 1, now, event.type, task_id, text)
            # What an event changes is put with it, so that no commit holds the one without the other.
            if isinstance(event, RunStarted | RunResumed | RunFinished):
                self._writer.put([stored, self._run_statement(event, stored)])
            elif isinstance(event, TaskStarted | TaskFinished):
                self._writer.put([stored, keep_true(event, run_id, task_id)])
            elif (used := used_by(event)) is not None:
                self._used[run_id] = self._used[run_id].plus(used)
                self._writer.put([stored, Using(run_id, used)])
            else:
                self._writer.put(stored)
        return stored

    def used(self, run_id: str) -> Used:
        """Return what a run used, what is not stored yet included."""
        known = self._used.get(run_id)
        return super().used(run_id) if known is None else known

    def plan(self, rows: Iterable[TaskRow]) -> None:
        """Queue the tasks of a run's plan, before their events; tasks that are known already stay as they are.

        They are stored at once or not at all. The rows are read in the thread that writes: a collection that makes them
        as it is iterated (perhaps twice) costs no memory, and must not change before the next `flush`.

        Raises:
            LogError: The log is closed.
        """
        with self._lock:
            if self._closed:
                raise LogError(f"the event log {self.path} is closed")
            self._writer.start()
            self._writer.put(Planned(rows))

    def flush(self) -> None:
        """Wait until every appended event is stored.

        Raises:
            LogError: The file cannot be written; the events are kept and tried again.
        """
        if not self._closed:
            self._writer.finish(last=False)
            self._tell_refused()

    def close(self) -> None:
        """Store every appended event and close the file.

        Raises:
            LogError: The file cannot be written; the error says how many events are lost.
        """
        with self._lock:
            closed, self._closed = self._closed, True
        super().close()
        if not closed:
            self._writer.finish(last=True)
            self._tell_refused()

    def _tell_refused(self) -> None:
        if self._refused:
            raise LogError(f"{len(self._refused)} events were not taken: {self._refused[0]}") from self._refused[0]

    def _add_run(self, run_id: str, now: float) -> int:
        """Make the row of a run that this process meets first; return the number of its last stored event."""
        try:
            known = self.run(run_id)
            rows = self._select("SELECT max(seq) FROM events WHERE run_id = ?", (run_id,))
        except LogError as error:
            self._refused.append(error)  # a Bus only logs what append raises, so flush has to tell of it
            self._writer.report(error)
            raise
        self._summaries[run_id] = dict(known.summary) if known else {}
        self._used[run_id] = known.used if known else Used()
        self._writer.start()
        self._writer.put((_ADD_RUN, (run_id, now, *self._process)))
        return int(rows[0][0] or 0)

    def _run_statement(self, event: RunStarted | RunResumed | RunFinished, stored: StoredEvent) -> Statement:
        """Return what keeps a run's row true to an event."""
        summary = self._summaries[stored.run_id]
        if isinstance(event, RunResumed):
            summary.update(budgeted(summary, event.budget, event.given), resumed=stored.time)
        else:
            summary.update(load(stored.text))
        if isinstance(event, RunFinished):
            return _END_RUN, (stored.time, event.status, dump(summary), stored.run_id)
        return _START_RUN, (dump(summary), *self._process, stored.run_id)


def _make_folder(folder: Path) -> None:
    """Make the folder; a new `.engine` hides itself from git."""
    ignore = folder / ".gitignore"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == ".engine" and not ignore.exists():
            ignore.write_text("*\n", "ascii")
    except OSError as error:
        raise LogError(f"the folder {folder} of the event log cannot be made: {error}") from error


def _finish_quietly(writer: Writer) -> None:
    """Store the rest when nobody closed the log; runs at exit, where only a log record can tell of a failure."""
    try:
        writer.finish(last=True)
    except LogError:
        import logging

        logging.getLogger("engine.events").exception("events were lost at exit")

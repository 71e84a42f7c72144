"""Reading the event log: runs, events and tasks, while another process writes them."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from engine.errors import ConfigError, LogError
from engine.events.encode import load
from engine.events.follow import Follower
from engine.events.liveness import ProcessMark, is_gone
from engine.events.records import RunRecord, StoredEvent, TaskRow, TaskSum, summed
from engine.events.schema import connect_reader
from engine.events.trouble import log_error
from engine.events.used import COLUMNS, Used

_RUNS = (
    "SELECT runs.run_id, started, ended, status, summary, pid, born, place, "  # noqa: S608 - our own names
    f"{COLUMNS} FROM runs LEFT JOIN used USING (run_id)"
)
_NEWEST_FIRST = "ORDER BY runs.rowid DESC LIMIT ?"  # not by time: a clock may be set back
_IDS = "SELECT run_id FROM runs ORDER BY rowid DESC"
_TASKS = f"SELECT {', '.join(TaskRow._fields)} FROM tasks WHERE run_id = ?"  # noqa: S608 - our own names
_SUMS = (
    "SELECT state, cached, count(*), sum(changes), sum(prompt_tokens), sum(completion_tokens) FROM tasks"
    " WHERE run_id = ? GROUP BY state, cached"
)
_STANDING = (
    "SELECT bundle, state, cached, count(*), sum(changes), sum(tasks.prompt_tokens),"  # noqa: S608 - our own names
    " sum(tasks.completion_tokens), (SELECT coalesce(max(seq), 0) FROM events WHERE events.run_id = tasks.run_id),"
    f" {COLUMNS} FROM tasks LEFT JOIN used USING (run_id) WHERE tasks.run_id = ? GROUP BY bundle, state, cached"
)
_TIMES = (
    "SELECT bundle, seconds, prompt_tokens, completion_tokens FROM tasks"
    " WHERE run_id = ? AND state = 'finished' AND cached = 0 LIMIT ?"
)
_USED = f"SELECT {COLUMNS} FROM used WHERE run_id = ?"  # noqa: S608 - our own names
_UNANSWERED = """
    SELECT task_id, data ->> 'turn', data ->> 'model', data ->> 'adapter',
        data ->> '$.reserved.prompt_tokens', data ->> '$.reserved.completion_tokens'
    FROM (
        SELECT task_id, type, data, max(seq) FROM events
        WHERE run_id = ?1 AND type IN ('model:requested', 'model:responded', 'model:lost', 'kernel:ended')
            AND task_id IN (SELECT task_id FROM tasks WHERE run_id = ?1 AND state = 'running')
        GROUP BY task_id
    ) WHERE type = 'model:requested' AND json_valid(data) AND data ->> '$.reserved.prompt_tokens' > 0
"""
_SUMMARIES = (
    "SELECT task_id, json_extract(data, '$.summary') FROM events"
    " WHERE run_id = ? AND type = 'task:finished' AND json_valid(data) ORDER BY seq"
)
_TASK_EVENTS = (
    "SELECT run_id, seq, time, type, task_id, data FROM events"
    " WHERE run_id = ? AND task_id IN (SELECT value FROM json_each(?)) ORDER BY seq"
)
_EVENTS = "SELECT run_id, seq, time, type, task_id, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
_EVENTS_OF_TYPES = (
    "SELECT run_id, seq, time, type, task_id, data FROM events WHERE run_id = ? AND seq > ?"
    " AND type IN (SELECT value FROM json_each(?)) ORDER BY seq LIMIT ?"
)
_OF_TASK = "SELECT run_id, seq, time, type, task_id, data FROM events WHERE run_id = ? AND task_id = ? ORDER BY seq"


class LogReader:
    """Reads an event log, from any thread; a writer is never blocked. A file that does not exist yet reads as empty."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._reading = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    def runs(self, limit: int = -1) -> list[RunRecord]:
        """Return the runs, newest first; a negative limit means all."""
        return [_record(row) for row in self._select(f"{_RUNS} {_NEWEST_FIRST}", (limit,))]

    def run(self, run_id: str) -> RunRecord | None:
        """Return one run."""
        rows = self._select(f"{_RUNS} WHERE runs.run_id = ?", (run_id,))
        return _record(rows[0]) if rows else None

    def newest_run(self) -> RunRecord | None:
        """Return the run that started last."""
        return next(iter(self.runs(1)), None)

    def resolve(self, run_id: str | None) -> str:
        """Return the full id of a run: None means the newest, and a unique beginning is enough.

        Raises:
            ConfigError: There is no such run, or several.
        """
        if run_id is not None and self.run(run_id) is not None:
            return run_id
        found = [row[0] for row in self._select(_IDS, ()) if run_id is None or row[0].startswith(run_id)]
        if len(found) == 1 or (found and run_id is None):
            return str(found[0])
        if run_id is None:
            raise ConfigError(f"{self.path} holds no run yet: start one with engine run BUNDLE --target PATH")
        if found:
            raise ConfigError(f"'{run_id}' begins the ids of several runs: {', '.join(found[:5])}")
        raise ConfigError(f"there is no run '{run_id}' in {self.path}: engine runs lists them")

    def events(
        self, run_id: str, after: int = 0, limit: int = -1, *, types: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Return the events of a run with `seq` above `after`, in order, as `event_to_json` writes them.

        Args:
            run_id: The run.
            after: The last number that the caller has.
            limit: At most this many; a negative limit means all.
            types: Only events of these types; none means all.
        """
        if not types:
            return [StoredEvent(*row).as_dict() for row in self._select(_EVENTS, (run_id, after, limit))]
        rows = self._select(_EVENTS_OF_TYPES, (run_id, after, json.dumps(types), limit))
        return [StoredEvent(*row).as_dict() for row in rows]

    def events_of_task(self, run_id: str, task_id: str) -> list[dict[str, Any]]:
        """Return the events of one task, in order."""
        return [StoredEvent(*row).as_dict() for row in self._select(_OF_TASK, (run_id, task_id))]

    def task_events(self, run_id: str, task_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the events of some tasks of a run, in order."""
        return [StoredEvent(*row).as_dict() for row in self._select(_TASK_EVENTS, (run_id, json.dumps(task_ids)))]

    def task_summaries(self, run_id: str) -> dict[str, str]:
        """Return what the tasks of a run said about themselves at their end, by their ids."""
        return {task_id: summary or "" for task_id, summary in self._select(_SUMMARIES, (run_id,))}

    def follow(self, run_id: str, after: int = 0) -> Follower:
        """Return the events of a run, as they are committed by whichever process writes it, until it ends.

        Args:
            run_id: The run.
            after: The last number that the caller has.
        """
        return Follower(self, run_id, after)

    def tasks(self, run_id: str, states: Sequence[str] = ()) -> list[TaskRow]:
        """Return the tasks of a run in the order of its plan, as far as they got.

        Args:
            run_id: The run.
            states: Only tasks in one of these states; none means all.
        """
        chosen = f" AND state IN ({', '.join('?' * len(states))})" if states else ""
        return [TaskRow(*row) for row in self._select(f"{_TASKS}{chosen} ORDER BY place, task_id", (run_id, *states))]

    def task(self, run_id: str, task_id: str) -> TaskRow | None:
        """Return one task as far as it got."""
        rows = self._select(f"{_TASKS} AND task_id = ?", (run_id, task_id))
        return TaskRow(*rows[0]) if rows else None

    def task_counts(self, run_id: str) -> dict[str, int]:
        """Return how many tasks of a run are in each state."""
        return dict(self._select("SELECT state, count(*) FROM tasks WHERE run_id = ? GROUP BY state", (run_id,)))

    def task_ends(self, run_id: str) -> set[tuple[str, str]]:
        """Return the states that tasks of a run are in, each with the reasons for it."""
        return set(self._select("SELECT DISTINCT state, reason FROM tasks WHERE run_id = ?", (run_id,)))

    def task_sums(self, run_id: str) -> list[tuple[str, int, int, int, int, int]]:
        """Return what the tasks of a run add up to.

        Returns:
            For each state, those from the cache apart: state, cached (1 or 0), tasks, changes, prompt tokens,
            completion tokens.
        """
        return [tuple(row) for row in self._select(_SUMS, (run_id,))]

    def standing(self, run_id: str) -> tuple[int, list[TaskSum], Used]:
        """Return the number of a run's last event, what its tasks add up to and what it used, all of one moment."""
        rows = self._select(_STANDING, (run_id,))
        tasks = len(TaskSum._fields)
        if not rows:
            return 0, [], Used()
        return rows[0][tasks], [TaskSum(*row[:tasks]) for row in rows], _used(rows[0][tasks + 1 :])

    def task_times(self, run_id: str, limit: int) -> list[tuple[str, float, int, int]]:
        """Return what tasks of a run took that finished, those from the cache aside.

        Returns:
            Of at most `limit` of them, in no order: bundle, seconds, prompt tokens, completion tokens.
        """
        return [tuple(row) for row in self._select(_TIMES, (run_id, limit))]

    def used(self, run_id: str) -> Used:
        """Return what the requests and tool calls of a run have used, those of all tries of its tasks."""
        rows = self._select(_USED, (run_id,))
        return _used(rows[0]) if rows else Used()

    def unanswered(self, run_id: str) -> list[tuple[str, int, str | None, str | None, int, int]]:
        """Return the last request of each task that is running, where no reply to it came, and it was limited.

        Returns:
            For each its task, turn, model, adapter, and the prompt and completion tokens that were reserved.
        """
        return [tuple(row) for row in self._select(_UNANSWERED, (run_id,))]

    def version(self) -> int:
        """Return a number that is another one after each commit of another process; costs some microseconds."""
        rows = self._select("PRAGMA data_version", ())
        return int(rows[0][0]) if rows else 0

    def close(self) -> None:
        """Close the file; a later read opens it again."""
        with self._reading:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exists(self) -> bool:
        try:
            self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise LogError(f"the event log {self.path} cannot be opened: {error.strerror}") from error
        return True

    def _select(self, query: str, values: Sequence[Any]) -> list[Any]:
        with self._reading:
            if self._connection is None:
                if not self._exists():
                    return []
                self._connection = connect_reader(self.path)
            try:
                return self._connection.execute(query, values).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise log_error(self.path, "read", error) from error


def _record(row: Sequence[Any]) -> RunRecord:
    run_id, started, ended, status, summary, pid, born, place = row[:8]
    if status == "running" and is_gone(ProcessMark(pid if isinstance(pid, int) else 0, str(born), str(place))):
        status = "interrupted"
    used = _used(row[8:])
    return RunRecord(run_id, started, ended, status, summed(load(summary), used), used)


def _used(row: Sequence[Any]) -> Used:
    """Return the columns of the table `used`; a run that used nothing has no row there."""
    return Used() if row[0] is None else Used(*map(int, row))

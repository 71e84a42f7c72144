"""The event log: events appended and stored per second, beside bare sqlite3 with group commits."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from engine.events import EventLog, ToolCalled
from tests.benchmarks.harness import Row, Sample, Scale, in_turns, middle, stopwatch

_GROUP = 1000
_ARGUMENTS = {"path": "src/package/module.py", "text": "x" * 60}
_TABLE = """CREATE TABLE events (run_id TEXT NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL, type TEXT NOT NULL,
    task_id TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run_id, seq))"""


def run(scale: Scale) -> list[Row]:
    count = scale.pick(30_000, 500)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = (folder / f"{number}.db" for number in range(1_000_000))
        samples = in_turns(
            {"ours": lambda: _ours(next(files), count), "bare": lambda: _bare(next(files), count)},
            scale.pick(9, 1),
        )
    ours, bare = samples["ours"], samples["bare"]
    peer = f"sqlite3, {_GROUP} rows a commit"
    return [
        Row(
            "Event log", "events per second, until stored", "events/s", peer,
            middle(ours, lambda s: s.amount / s.wall), middle(bare, lambda s: s.amount / s.wall),
            note="Both make the JSON of each event; ours also numbers it, and stores it from another thread.",
        ),
        Row(
            "Event log", "CPU per event", "µs", peer,
            middle(ours, lambda s: s.cpu / s.amount * 1e6), middle(bare, lambda s: s.cpu / s.amount * 1e6),
        ),
        Row(
            "Event log", "append, as its caller sees it", "µs", peer,
            middle(ours, lambda s: s.extra["append"] / s.amount * 1e6), middle(bare, lambda s: s.wall / s.amount * 1e6),
        ),
    ]  # fmt: skip


def _ours(path: Path, count: int) -> Sample:
    with EventLog(path) as log:
        with stopwatch() as figures:
            began = time.perf_counter()
            for number in range(count):
                log.append(_event(number))
            append = time.perf_counter() - began
            log.flush()
        assert len(log.events("run", after=count - 1)) == 1
    return Sample(**figures, amount=count, extra={"append": append})


def _event(number: int) -> ToolCalled:
    return ToolCalled(
        run_id="run", task_id="task", turn=1, call_id=f"call-{number}", tool="write_file", arguments=_ARGUMENTS
    )


def _bare(path: Path, count: int) -> Sample:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(_TABLE)
        with stopwatch() as figures:
            for start in range(0, count, _GROUP):
                database.execute("BEGIN IMMEDIATE")
                database.executemany(
                    "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", _rows(start, min(start + _GROUP, count))
                )
                database.execute("COMMIT")
    return Sample(**figures, amount=count)


def _rows(start: int, end: int) -> Iterator[tuple[object, ...]]:
    for number in range(start, end):
        data = {"turn": 1, "call_id": f"call-{number}", "tool": "write_file", "arguments": _ARGUMENTS}
        yield "run", number + 1, time.time(), "tool:called", "task", json.dumps(data, separators=(",", ":"))

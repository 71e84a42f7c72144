"""The event log: events and planned tasks stored per second, beside bare sqlite3 with group commits."""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from engine.events import EventLog, TaskFinished, TaskRow, TaskStarted, ToolCalled
from engine.messages import Usage
from tests.benchmarks.harness import Row, Sample, Scale, in_turns, middle, stopwatch

_GROUP = 1000
_ARGUMENTS = {"path": "src/package/module.py", "text": "x" * 60}
_TABLE = """CREATE TABLE events (run_id TEXT NOT NULL, seq INTEGER NOT NULL, time REAL NOT NULL, type TEXT NOT NULL,
    task_id TEXT NOT NULL, data TEXT NOT NULL, PRIMARY KEY (run_id, seq))"""
_PER_TASK = 8  # events, the first and the last of which bring the task's row up to date
_FIELDS = TaskRow._fields
_TASKS = f"CREATE TABLE tasks ({', '.join(_FIELDS)}, PRIMARY KEY (run_id, task_id)) WITHOUT ROWID"
_PLAN = f"INSERT INTO tasks VALUES ({', '.join('?' * len(_FIELDS))})"
_STEP = "UPDATE tasks SET state = ?, attempts = 1 WHERE run_id = 'run' AND task_id = ?"
_NAMES = {"bundle": "docstring", "node_id": "0123456789abcdef", "node": "Shop.area", "file": "src/shop.py", "line": 17}


def run(scale: Scale) -> list[Row]:
    count, tasks, planned = scale.pick(30_000, 500), scale.pick(4_000, 60), scale.pick(100_000, 500)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = (folder / f"{number}.db" for number in range(1_000_000))
        samples = in_turns(
            {
                "ours": lambda: _ours(next(files), count),
                "bare": lambda: _bare(next(files), count),
                "our tasks": lambda: _our_tasks(next(files), tasks),
                "bare tasks": lambda: _bare_tasks(next(files), tasks),
                "our plan": lambda: _our_plan(next(files), planned),
                "bare plan": lambda: _bare_plan(next(files), planned),
            },
            scale.pick(9, 1),
        )
    return [*_event_rows(samples["ours"], samples["bare"]), *_task_rows(samples)]


def _task_rows(samples: Mapping[str, Sequence[Sample]]) -> list[Row]:
    ours, bare = samples["our tasks"], samples["bare tasks"]
    our_plan, bare_plan = samples["our plan"], samples["bare plan"]
    peer = f"sqlite3, {_GROUP} events a commit"
    return [
        Row(
            "Event log", "events per second, with the rows of their tasks", "events/s", peer,
            middle(ours, lambda s: s.amount / s.wall), middle(bare, lambda s: s.amount / s.wall),
            note=f"{_PER_TASK} events a task; its row changes with the first and the last, in the same commit.",
        ),
        Row(
            "Event log", "CPU per event, with the rows of their tasks", "µs", peer,
            middle(ours, lambda s: s.cpu / s.amount * 1e6), middle(bare, lambda s: s.cpu / s.amount * 1e6),
        ),
        Row(
            "Event log", "plan of 100,000 tasks, until stored", "ms", "sqlite3, one executemany",
            middle(our_plan, lambda s: s.wall * 1e3), middle(bare_plan, lambda s: s.wall * 1e3),
        ),
        Row(
            "Event log", "plan of 100,000 tasks, as its caller sees it", "ms", "sqlite3, one executemany",
            middle(our_plan, lambda s: s.extra["call"] * 1e3), middle(bare_plan, lambda s: s.wall * 1e3),
        ),
    ]  # fmt: skip


def _event_rows(ours: Sequence[Sample], bare: Sequence[Sample]) -> list[Row]:
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


def _our_tasks(path: Path, tasks: int) -> Sample:
    with EventLog(path) as log:
        log.plan(_plan(tasks))
        log.flush()
        with stopwatch() as figures:
            for number in range(tasks):
                names = {"run_id": "run", "task_id": f"task-{number}", **_NAMES}
                log.append(TaskStarted(**names))
                for call in range(_PER_TASK - 2):
                    log.append(_event(call))
                usage = Usage(900, 60)
                log.append(TaskFinished(**names, outcome="finished", reason="termination_tool", usage=usage))
            log.flush()
        assert log.task_counts("run") == {"finished": tasks}
    return Sample(**figures, amount=tasks * _PER_TASK)


def _bare_tasks(path: Path, tasks: int) -> Sample:
    insert = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)"
    with closing(_database(path)) as database:
        database.executemany(_PLAN, _plan(tasks))
        with stopwatch() as figures:
            for start in range(0, tasks, _GROUP // _PER_TASK):
                numbers = range(start, min(start + _GROUP // _PER_TASK, tasks))
                database.execute("BEGIN IMMEDIATE")
                database.executemany(insert, _rows_of_tasks(numbers))
                for state in ("running", "finished"):
                    database.executemany(_STEP, ((state, f"task-{number}") for number in numbers))
                database.execute("COMMIT")
    return Sample(**figures, amount=tasks * _PER_TASK)


def _rows_of_tasks(numbers: range) -> Iterator[tuple[object, ...]]:
    for number in numbers:
        yield from _rows(number * _PER_TASK, number * _PER_TASK + _PER_TASK - 2)
        for place, kind in ((2, "task:started"), (1, "task:finished")):
            data = {**_NAMES, "outcome": "finished", "reason": "termination_tool", "usage": {"prompt_tokens": 900}}
            text = json.dumps(data, separators=(",", ":"))
            yield "run", (number + 1) * _PER_TASK - place + 1, time.time(), kind, f"task-{number}", text


def _our_plan(path: Path, tasks: int) -> Sample:
    rows = list(_plan(tasks))
    with EventLog(path) as log, stopwatch() as figures:
        began = time.perf_counter()
        log.plan(rows)
        call = time.perf_counter() - began
        log.flush()
    return Sample(**figures, amount=tasks, extra={"call": call})


def _bare_plan(path: Path, tasks: int) -> Sample:
    rows = list(_plan(tasks))
    with closing(_database(path)) as database, stopwatch() as figures:
        database.execute("BEGIN IMMEDIATE")
        database.executemany(_PLAN, rows)
        database.execute("COMMIT")
    return Sample(**figures, amount=tasks)


def _plan(tasks: int) -> Iterator[TaskRow]:
    name = _NAMES
    for number in range(tasks):
        place = (name["node_id"], name["node"], "function", name["file"], name["line"])
        yield TaskRow("run", f"task-{number}", number, name["bundle"], "", *place)


def _database(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = NORMAL", _TABLE, _TASKS):
        database.execute(statement)
    return database

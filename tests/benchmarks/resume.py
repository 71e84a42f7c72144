"""Going on with a run of 100,000 tasks that are all but done, beside the command's start."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from engine.app import App, RunRequest
from engine.app.recorded import request_to_json
from engine.bundle import load_bundle
from engine.discovery import discover
from engine.events import (
    Event,
    EventLog,
    ModelRequested,
    ModelResponded,
    RunPlanned,
    RunStarted,
    TaskFinished,
    TaskStarted,
)
from engine.messages import Usage
from engine.run.plan import Assignment, Task
from engine.run.recording import PlanRows
from engine.run.resume import read_past
from tests.benchmarks.cached import make_docs_bundle, make_functions
from tests.benchmarks.harness import Aim, Row, Sample, Scale, in_turns, middle, ms_wall
from tests.benchmarks.startup import engine, spawn
from tests.scripted_server import scripted_server

_LEFT = 20
_RUN = "20260101-000000-0000"
_CALL = '<tool_call>\n{"name": "write_docstring", "arguments": {"summary": "Sum up."}}\n</tool_call>'


def run(scale: Scale) -> list[Row]:
    count = scale.pick(100_000, 200)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project, bundle = make_functions(folder / "project", count, 100), make_docs_bundle(folder / "docs")
        log = _write_log(project, bundle)
        samples = in_turns(
            {
                "resume": lambda: _first_request(project, log, folder),
                "help": lambda: spawn([*engine(), "--help"]),
                "read": lambda: _read(log),
            },
            scale.pick(5, 1),
        )
        size = log.stat().st_size / 1e6
    ours, other = middle(samples["resume"], ms_wall), middle(samples["help"], ms_wall)
    return [
        Row(
            "Resume", f"{count} tasks, {_LEFT} left: from the start of the process to the first request", "ms",
            "engine --help", ours, other, Aim("ours", "<=", 3000) if not scale.quick else None,
            f"Of this {middle(samples['read'], ms_wall):.0f} ms read the log ({size:.0f} MB).",
        )
    ]  # fmt: skip


def _write_log(project: Path, bundle: Path) -> Path:
    """Write the log of a run that was killed just before its end, as the run itself would have."""
    app, loaded = App(project), load_bundle(bundle)
    request = RunRequest([bundle], [project / "src"], base_url="http://127.0.0.1:1/v1", cache=False)
    nodes = discover([project / "src"], root=project, types=["function"]).nodes
    assignment = Assignment(loaded, loaded.get_plugin(), {})
    tasks = [Task(f"docs-{node.node_id[:12]}", assignment, node) for node in nodes]
    with app.log() as log:
        for event in _events(tasks, loaded.digest, request_to_json(request, app.root, lambda one: one), log):
            log.append(event)
    with contextlib.closing(sqlite3.connect(app.log_path)) as database, database:
        database.execute("UPDATE runs SET born = '0'")  # another process wrote it, which is gone
    os.sync()
    return app.log_path


def _events(tasks: list[Task], digest: str, request: dict[str, object], log: EventLog) -> Iterator[Event]:
    ids = {"run_id": _RUN}
    yield RunStarted(**ids, bundles=("docs",), targets=("src",), request=request, digests={"docs": digest})
    log.plan(PlanRows(_RUN, tasks))
    yield RunPlanned(**ids, files=len(tasks) // 100, nodes=len(tasks), tasks=len(tasks))
    for number, task in enumerate(tasks[:-_LEFT]):
        yield from _task_events(task)
        if number % 2000 == 0:
            log.flush()


def _task_events(task: Task) -> list[Event]:
    ids = {"run_id": _RUN, "task_id": task.task_id}
    node = task.node
    who = {
        "bundle": "docs",
        "node_id": node.node_id,
        "node": node.name,
        "file": node.file_path,
        "line": node.start_line,
    }
    message = {"role": "user", "content": f"Document {node.name}:\n\n{node.text}"}
    usage = Usage(240, 24)
    return [
        TaskStarted(**ids, **who),
        ModelRequested(**ids, turn=1, model=None, adapter=None, constraint="none", messages=(message,)),
        ModelResponded(
            **ids, turn=1, model="m", adapter=None, text=_CALL, tool_calls_count=1, finish_reason="stop",
            usage=usage, duration_ms=20.0,
        ),
        TaskFinished(**ids, **who, outcome="finished", reason="termination_tool", turns=1, usage=usage),
    ]  # fmt: skip


def _first_request(project: Path, log: Path, folder: Path) -> Sample:
    """Resume, kill the process at its first request, and put the log back."""
    with scripted_server() as server:
        came: list[float] = []

        def text(body: object) -> str:
            came.append(time.perf_counter())
            return _CALL

        server.text = text
        argv = [*engine(), "resume", "--project", str(project), "--base-url", server.api]
        began = time.perf_counter()
        with (folder / "err.txt").open("w") as said:
            process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=said)
        while not came:
            if process.poll() is not None:
                raise RuntimeError(f"engine resume ended early: {(folder / 'err.txt').read_text()[-2000:]}")
            time.sleep(0.001)
        process.kill()
        process.wait()
    (project / ".engine" / "changes.db").unlink(missing_ok=True)
    return Sample(wall=came[0] - began, cpu=0.0)


def _read(log: Path) -> Sample:
    began = time.perf_counter()
    read_past(log, _RUN, "interrupted")
    return Sample(wall=time.perf_counter() - began, cpu=0.0)

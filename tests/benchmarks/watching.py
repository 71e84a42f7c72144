"""Planning, selecting and watching large runs, each beside what it stands on, done bare."""

from __future__ import annotations

import asyncio
import io
import json
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress

from engine.app import App, RunRequest
from engine.cli.live import FRAMES, frame
from engine.discovery import discover_async
from engine.events import Event, EventLog, LogReader, RunPlanned, RunStarted, TaskFinished, TaskRow, TaskStarted
from engine.messages import Usage
from engine.run.estimate import count, count_some
from engine.run.flights import Flight
from engine.run.since import Since
from engine.run.standing import attach
from engine.run.tally import Tally
from tests.benchmarks.harness import ROOT, Aim, Row, Sample, Scale, in_turns, middle, ms_cpu, ms_wall, stopwatch
from tests.benchmarks.instant_server import instant_server

_FUNCTION = "def f{0}(a, b):\n    return a * {0} + b\n\n\n"
_SUMS = "SELECT state, count(*), sum(prompt_tokens), max(seconds) FROM tasks WHERE run_id = 'r' GROUP BY state"
_ANYONE = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def run(scale: Scale) -> list[Row]:
    return [*_planning(scale), *_selecting(scale), *_folding(scale), *_attaching(scale), *_drawing(scale)]


# -- before it starts


def _planning(scale: Scale) -> list[Row]:
    nodes, rounds = scale.pick(10_000, 200), scale.pick(5, 1)
    with tempfile.TemporaryDirectory() as name, instant_server() as url:
        root = _project(Path(name), nodes)
        app = App.open(root)
        request = RunRequest(
            [ROOT / "bundles/docstring"], [root], base_url=url, cache=False, params={"strict": "never"}
        )

        async def planned(counts: str) -> Sample:
            with stopwatch() as figures:
                async with app.session(request) as session:
                    tasks = session.plan.tasks
                    if counts == "some":
                        await count_some(tasks, session, seconds=60)
                    elif counts == "all":
                        await count(tasks, session)
            assert len(tasks) == nodes
            return Sample(**figures)

        async def found() -> Sample:
            with stopwatch() as figures:
                await discover_async([root], root=root, languages=["python"])
            return Sample(**figures)

        samples = in_turns(
            {
                "some": lambda: asyncio.run(planned("some")),
                "all": lambda: asyncio.run(planned("all")),
                "found": lambda: asyncio.run(found()),
            },
            rounds,
        )
    found_ms = middle(samples["found"], ms_wall)
    return [
        Row(
            "Large runs", f"plan of {nodes} tasks at a run's start", "ms", "discovery alone",
            middle(samples["some"], ms_wall), found_ms, note="Of the prompts 48 are rendered.",
        ),
        Row(
            "Large runs", f"plan of {nodes} tasks, every prompt rendered", "ms", "discovery alone",
            middle(samples["all"], ms_wall), found_ms,
            note="`--dry-run`, with a server that has no tokenizer; a tokenizer's own time comes on top.",
        ),
    ]  # fmt: skip


def _project(folder: Path, nodes: int) -> Path:
    (folder / "engine.yaml").write_text("bundles: bundles\n")
    for part in range(nodes // 100):
        (folder / f"m{part}.py").write_text("".join(_FUNCTION.format(number) for number in range(100)))
    return folder


def _selecting(scale: Scale) -> list[Row]:
    files, rounds = scale.pick(2000, 20), scale.pick(7, 1)
    with tempfile.TemporaryDirectory() as name:
        root = _project(Path(name), files * 100)
        for argv in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "x"]):
            _git(root, *argv)
        for part in range(0, files, 100):
            (root / f"m{part}.py").write_text((root / f"m{part}.py").read_text().replace("* 7 ", "* 8 "))

        async def ours() -> Sample:
            with stopwatch() as figures:
                since = Since("HEAD", root, [root])
                found = await discover_async([root], root=root, types=["function"], only=since.touches)
                nodes = await since.changed(found.nodes, types=["function"])
            assert len(nodes) == len(range(0, files, 100))
            return Sample(**figures)

        def bare() -> Sample:
            with stopwatch() as figures:
                _git(root, "diff", "--name-only", "HEAD")
                _git(root, "ls-files", "--others", "--exclude-standard")
            return Sample(**figures)

        samples = in_turns({"ours": lambda: asyncio.run(ours()), "bare": bare}, rounds)
    return [
        Row(
            "Large runs", f"--changed-since, {files} files", "ms", "git diff --name-only and git ls-files --others",
            middle(samples["ours"], ms_wall), middle(samples["bare"], ms_wall),
            note="git tells the files, ours the nodes; one of 100 files has a changed one.",
        )
    ]  # fmt: skip


def _git(root: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=root, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **_ANYONE})


# -- while it runs


def _events(tasks: int, running: int) -> Iterator[Event]:
    for number in range(tasks):
        who = {"run_id": "r", "task_id": f"note-{number:012x}", "bundle": "note", "node_id": f"{number:016x}"}
        what = {"node": f"f{number}", "file": f"src/m{number // 100}.py", "line": number % 100}
        yield TaskStarted(**who, **what)
        if number < tasks - running:
            outcome = "finished" if number % 100 else "failed"
            usage = Usage(400, 60)
            yield TaskFinished(**who, **what, outcome=outcome, reason="x", turns=2, seconds=1.5, usage=usage)


def _folding(scale: Scale) -> list[Row]:
    count_, rounds = scale.pick(20_000, 200), scale.pick(7, 1)
    lines = [
        json.dumps({"seq": 1, "time": number / 100, "type": event.type, "task_id": event.task_id, **event.payload()})
        for number, event in enumerate(_events(count_ // 2, 0))
    ]

    def ours() -> Sample:
        events, tally = [json.loads(line) for line in lines], Tally()
        with stopwatch() as figures:
            for event in events:
                tally.add(event)
        assert tally.done == count_ // 2
        return Sample(**figures, amount=count_)

    def bare() -> Sample:
        with stopwatch() as figures:
            for line in lines:
                json.loads(line)
        return Sample(**figures, amount=count_)

    samples = in_turns({"ours": ours, "bare": bare}, rounds)
    return [
        Row(
            "Large runs", "an event, summed up", "µs", "json.loads of it",
            middle(samples["ours"], lambda s: s.cpu / s.amount * 1e6),
            middle(samples["bare"], lambda s: s.cpu / s.amount * 1e6),
        )
    ]  # fmt: skip


def _attaching(scale: Scale) -> list[Row]:
    tasks, rounds = scale.pick(100_000, 500), scale.pick(7, 1)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "events.db"
        with EventLog(path) as log:
            log.append(RunStarted(run_id="r", bundles=("note",), targets=(".",)))
            log.plan([_row(number) for number in range(tasks)])
            log.append(RunPlanned(run_id="r", files=1, nodes=tasks, tasks=tasks))
            for event in _events(tasks * 6 // 10, 64):
                log.append(event)
            log.flush()
            samples = in_turns({"ours": lambda: _attach(path), "bare": lambda: _sum(path)}, rounds)
    return [
        Row(
            "Large runs", f"engine top, attaching to a run of {tasks} tasks", "ms", "sqlite3, the sums of its rows",
            middle(samples["ours"], ms_wall), middle(samples["bare"], ms_wall),
        )
    ]  # fmt: skip


def _row(number: int) -> TaskRow:
    return TaskRow(
        "r", f"note-{number:012x}", number, "note", "", f"{number:016x}", f"f{number}", "function", "m.py", 1
    )


def _attach(path: Path) -> Sample:
    with stopwatch() as figures, LogReader(path) as reader:
        tally, _ = attach(reader, "r")
    assert len(tally.flights) == 64
    return Sample(**figures)


def _sum(path: Path) -> Sample:
    with stopwatch() as figures, closing(sqlite3.connect(path)) as database:
        assert database.execute(_SUMS).fetchall()
    return Sample(**figures)


def _drawing(scale: Scale) -> list[Row]:
    frames, rounds = scale.pick(200, 5), scale.pick(7, 1)
    samples = in_turns({"ours": lambda: _frames(frames), "bare": lambda: _bars(frames)}, rounds)
    ours = middle(samples["ours"], ms_cpu)
    return [
        Row(
            "Large runs", "a frame of the live view, 64 tasks in flight of 10,000", "ms CPU", "a bar of rich.progress",
            ours, middle(samples["bare"], ms_cpu), Aim("ours", "<=", 2.0),
            note=f"At most {FRAMES} frames a second are drawn.",
        )
    ]  # fmt: skip


def _frames(frames: int) -> Sample:
    tally = Tally(status="running", started=0.0, planned=10_000)
    tally.counts["finished"] = 5000
    for number in range(64):
        place = f"src/package/module_{number}.py:{number} Thing.method_{number}"
        tally.flights[str(number)] = Flight(str(number), "docstring", place, 1.0, 2, "waits for the model")
    with Live(console=_console(), auto_refresh=False) as live, stopwatch() as figures:
        for number in range(frames):
            live.update(frame(tally, 5.0 + number, live.console), refresh=True)
    return Sample(**figures, amount=frames)


def _bars(frames: int) -> Sample:
    with Progress(BarColumn(), console=_console(), auto_refresh=False) as progress:
        bar = progress.add_task("", total=10_000)
        with stopwatch() as figures:
            for _ in range(frames):
                progress.update(bar, advance=1, refresh=True)
    return Sample(**figures, amount=frames)


def _console() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=120, height=40)

"""Runs in processes of their own that are killed at any point, and what is left of them."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from projects import MANIFEST, call, make_bundle, make_project
from scripted_server import ScriptedServer

from engine.app import App
from engine.manifest import EngineConfig
from engine.workspace import ChangeStore

TWO_TURNS = MANIFEST.replace(
    "loop: {max_turns: 3, termination_tool: add_comment}", "loop: {max_turns: 3, on_no_call: finish}"
)

_ZYGOTE = """
import json, os, signal, sys
sys.stdin.reconfigure(line_buffering=True)
import engine.cli, engine.cli.run, engine.cli.resume, engine.app, engine.app.resume, engine.run.session, engine.run.left
import engine.backends, engine.cli.progress, engine.discovery.scan, engine.bundle.load, openai, openai.resources.chat
signal.signal(signal.SIGINT, signal.default_int_handler)
for line in sys.stdin:
    argv, out = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setpgid(0, 0)
        text = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0), os.dup2(text, 1), os.dup2(text, 2)
        sys.stdout.flush()
        engine.cli.main(argv)
    print(pid, flush=True)
    status = os.waitpid(pid, 0)[1]
    print(os.waitstatus_to_exitcode(status), flush=True)
"""


class Launcher:
    """Starts `engine` in processes that have imported it already, so that a test can start very many.

    Args:
        folder: Where what they print goes.
    """

    def __init__(self, folder: Path) -> None:
        self._out = folder / "printed.txt"
        self._process = subprocess.Popen(
            [sys.executable, "-c", _ZYGOTE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def start(self, *argv: object) -> int:
        """Start `engine` with these arguments; return its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([[str(one) for one in argv], str(self._out)]) + "\n")
        return int(self._process.stdout.readline())

    def wait(self) -> int:
        """Return its exit code, negative for a signal, once it has ended."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def kill_when(self, pid: int, ready: Callable[[], bool]) -> None:
        """Kill a process as soon as something is so."""
        for _ in range(600_000):
            if ready():
                break
            time.sleep(0.0001)
        _end(pid, signal.SIGKILL)

    def engine(self, *argv: object) -> tuple[int, str]:
        """Run `engine` to its end; return its exit code and what it printed."""
        self.start(*argv)
        return self.wait(), self._out.read_text()

    @property
    def printed(self) -> str:
        """What the last one printed."""
        return self._out.read_text()

    def close(self) -> None:
        """End."""
        self._process.communicate()


@contextlib.contextmanager
def launcher(folder: Path) -> Iterator[Launcher]:
    """Give a Launcher."""
    made = Launcher(folder)
    try:
        yield made
    finally:
        made.close()


@dataclass
class Trigger:
    """Calls something once, when the server has got a number of requests from now on."""

    left: int = -1
    then: Callable[[], None] = field(default=lambda: None)

    def set(self, left: int, then: Callable[[], None]) -> None:
        """Call `then` at the request number `left`, counted from 1."""
        self.left, self.then = left, then

    def count(self) -> None:
        """Hear of a request."""
        self.left -= 1
        if self.left == 0:
            self.then()


def two_turns(server: ScriptedServer, trigger: Trigger | None = None, pause: float = 0.0) -> None:
    """Have the server answer each task the same way whenever it is asked: a call that names the node, then an end."""
    lock = threading.Lock()

    def text(body: Any) -> str:
        with lock:
            if trigger is not None:
                trigger.count()
        time.sleep(pause)
        messages = body["messages"]
        if any("<tool_response>" in str(message["content"]) for message in messages):
            return "It is done."
        first = next(message["content"] for message in messages if "Comment " in message["content"])
        return call("about " + first.split("Comment ", 1)[1].split(":", 1)[0])

    server.text = text


def many_functions(folder: Path, files: int = 6, each: int = 10) -> Path:
    """Make a project of `files * each` functions."""
    return make_project(
        folder,
        {
            f"src/m{number}.py": "\n\n".join(f"def f{number}_{at}(a):\n    return a + {at}\n" for at in range(each))
            for number in range(files)
        },
    )


def two_turn_bundle(folder: Path) -> Path:
    """Make a bundle whose tasks take two turns."""
    return make_bundle(folder, manifest=TWO_TURNS)


@dataclass(frozen=True)
class State:
    """What a run left behind, without what differs from time to time."""

    tasks: list[tuple[Any, ...]]
    changes: list[tuple[Any, ...]]
    files: dict[str, str]
    summary: dict[str, Any]


def state_of(project: Path, run_id: str | None = None) -> State:
    """Return what the newest run, or another one, left behind."""
    with App(project, EngineConfig()).reader() as log:
        record = log.run(log.resolve(run_id))
        assert record is not None
        rows = log.tasks(record.run_id)
    wanted = ("finished", "failed", "stopped", "skipped", "changes", "status")
    store = ChangeStore(project)
    changes = [
        (row.task_id, row.node, row.change.path, row.change.before, row.change.after, row.state)
        for row in store.list(record.run_id)
    ]
    store.close()
    return State(
        [(row.task_id, row.place, row.node, row.file, row.line, row.state, row.changes, row.error) for row in rows],
        sorted(changes),
        {path.relative_to(project).as_posix(): path.read_text() for path in sorted(project.rglob("*.py"))},
        {name: record.summary.get(name) for name in wanted} | {"status": record.status},
    )


def events_of(project: Path) -> list[dict[str, Any]]:
    """Return the events of the newest run."""
    with App(project, EngineConfig()).reader() as log:
        return log.events(log.resolve(None))


def ends(project: Path, outcome: str = "finished") -> Counter[str]:
    """Return how often each task of the newest run ended so."""
    return Counter(
        event["task_id"]
        for event in events_of(project)
        if event["type"] == "task:finished" and event["outcome"] == outcome
    )


def check_databases(project: Path) -> None:
    """See that both databases are whole."""
    for name in ("events.db", "changes.db"):
        path = project / ".engine" / name
        if path.exists():
            with contextlib.closing(sqlite3.connect(path)) as database:
                assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def kill_now_and_then(
    start: Launcher,
    argv: Sequence[object],
    project: Path,
    trigger: Trigger,
    chance: random.Random,
    *,
    at_least: int = 0,
) -> Iterator[int]:
    """Run `engine run` and then `engine resume` until the run has ended, each ended by a signal at a random point.

    Args:
        start: Starts them.
        argv: The run.
        project: Its project.
        trigger: Heeds the requests of the server.
        chance: Chooses when, and by what.
        at_least: So many are ended before one may come to its end: their points lie closer together.

    Yields:
        The exit code of each process; the last one ended by itself.
    """
    command: Sequence[object] = argv
    for count in itertools.count():
        which = chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        pid = start.start(*command)
        delay = chance.choice([0, 0, 0.002, 0.01, 0.03])
        ending = threading.Timer(delay, _end, (pid, which))
        few = count < at_least
        timed = chance.random() < 0.25  # also before the first request and after the last one
        if timed:
            ending = threading.Timer(chance.uniform(0.05, 0.4 if few else 1.2), _end, (pid, which))
            ending.start()
        else:
            trigger.set(chance.randint(1, 20 if few else 40), ending.start)
        code = start.wait()
        trigger.set(-1, lambda: None)
        ending.cancel()
        yield code
        if code in (0, 1, 2):
            return
        command = ["resume", "--project", project, "--concurrency", "4"] if known(project) else argv


def _end(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, which)


def known(project: Path) -> bool:
    """Whether the project's log has a run."""
    if not (project / ".engine" / "events.db").exists():
        return False
    with App(project, EngineConfig()).reader() as log:
        return bool(log.runs())

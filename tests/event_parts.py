"""What the tests of the event log share: a project with a log, and a process that writes events when told to."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

WRITER = """
import sys
from engine.events import *
log = EventLog(sys.argv[1])
for line in sys.stdin:
    exec(line)
    log.flush()
    print("stored", flush=True)
log.close()
"""
IDENTITY = {"bundle": "b", "node_id": "n", "file": "a.py", "line": 1}


class WritingProcess:
    """A process that has the event log open; each `do` runs a line of Python in it, with `log` and the event types."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def do(self, line: str) -> None:
        """Run a line and wait until what it appended is stored."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "stored\n"

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def writing_process(path: Path) -> Iterator[WritingProcess]:
    """Start a process that has the event log open."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", WRITER, path], stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield WritingProcess(process)
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.wait(60)
        finally:
            process.kill()


def start_engine(*argv: object, cwd: Path, **env: str) -> subprocess.Popen[str]:
    """Start a verb with pipes for its output."""
    return subprocess.Popen(
        [sys.executable, "-m", "engine", *map(str, argv)],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def on_small_disk(folder: Path, size: str, code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run Python code with a file system of its own, of a size such as `1m`, at a folder; only the process sees it.

    Where the machine allows no such thing, the test is skipped.
    """
    inside = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && exec "$@"'
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    command = [*unshare, "sh", "-c", inside, "sh", size, str(folder)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("no file system can be mounted here")
    command += [sys.executable, "-c", code, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

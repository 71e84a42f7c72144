"""A vLLM server's processes, seen from who starts them: the guard, the log, the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BackendUnavailable
from engine.processes import birth, kill, members_of_session, same_start

_GUARD = Path(__file__).with_name("vllm_server_guard.py")
STOP_SECONDS = 10.0
_MORE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which processes a server is, in a form that outlives the program that started it.

    Attributes:
        guard: The guard's process id.
        born: When the guard began, see `engine.processes.birth`.
        session: The session of the server's processes, which is the id of the first of them.
        session_born: When that one began.
    """

    guard: int
    born: str
    session: int
    session_born: str

    @property
    def alive(self) -> bool:
        """Whether the guard still lives, and is not another process with the same id."""
        return birth(self.guard) == self.born

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End the server from outside; after `seconds` it is killed."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.guard, signal.SIGTERM)
            deadline = time.monotonic() + seconds + _MORE_SECONDS
            while self.alive and time.monotonic() < deadline:
                time.sleep(0.05)
            if self.alive:
                kill([self.guard])
        self.sweep()

    def sweep(self) -> None:
        """Kill what a killed guard left.

        A session keeps its number until its last process has ended; a first process that began at another time, or
        on another start of the machine, shows that the number belongs to somebody else by now.
        """
        first = birth(self.session)
        if first == self.session_born or (first is None and same_start(self.session_born)):
            kill(members_of_session(self.session))


class ServerProcess:
    """A started server that ends with this process, until `detach`.

    Args:
        argv: The command.
        environment: All of its environment variables.
        log: The file that gets what it writes.
        seconds: How long it may take to end before it is killed.

    Raises:
        BackendUnavailable: It cannot be started.
    """

    def __init__(
        self, argv: Sequence[str], environment: Mapping[str, str], log: Path, seconds: float = STOP_SECONDS
    ) -> None:
        self._seconds = seconds
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        born = birth(self._guard.pid) or ""
        order = {"argv": list(argv), "environment": dict(environment), "log": str(log), "seconds": seconds}
        answer = self._say(order)
        if "pid" not in answer:
            self._end_guard()
            raise BackendUnavailable(f"{argv[0]} cannot be started: {answer.get('error', 'its guard ended')}")
        self.identity = Identity(self._guard.pid, born, int(answer["pid"]), str(answer["born"]))

    @property
    def exit_status(self) -> int | None:
        """The server's exit status (128 + N after signal N), or None while it runs."""
        return self._guard.poll()

    def detach(self) -> None:
        """Let the server outlive this process."""
        stdin = self._guard.stdin
        if stdin is not None and not stdin.closed:
            stdin.write(b"detach\n")
            stdin.close()

    def wait(self) -> int:
        """Wait until the server ends by itself and return its exit status."""
        return self._guard.wait()

    def stop(self) -> None:
        """End the server and everything that it started."""
        try:
            self.identity.stop(self._seconds)
        finally:
            self._end_guard()
            self.identity.sweep()

    def _say(self, order: Mapping[str, object]) -> dict[str, Any]:
        stdin, stdout = self._guard.stdin, self._guard.stdout
        if stdin is None or stdout is None:
            raise AssertionError("the guard is started with pipes")
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(order).encode() + b"\n")
            stdin.flush()
        line = stdout.readline()
        stdout.close()
        answer = json.loads(line) if line else {}
        return answer if isinstance(answer, dict) else {}

    def _end_guard(self) -> None:
        stdin = self._guard.stdin
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                stdin.close()
        try:
            self._guard.wait(_MORE_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()

"""The parent's side of the embedded model: starts the child process, explains why it failed, and ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from engine.backends.gguf_header import GgufError, read_header
from engine.errors import BackendUnavailable, ConfigError, MissingExtraError

_CHILD = Path(__file__).with_name("llama_child.py")
START_SECONDS = 300.0
_STOP_SECONDS = 3.0
_TAIL_BYTES = 4000
_MOST_BYTES = 65536


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """What the child is started with.

    Attributes:
        model: The GGUF file.
        name: What the server calls the model.
        n_ctx: Tokens of context for each slot.
        parallel: Slots: requests at once.
        threads: Threads that compute.
        adapters: GGUF adapters; the position is the id.
        cache_ram_mib: Memory for prompts that no slot holds any more, in MiB.
    """

    model: str
    name: str
    n_ctx: int
    parallel: int
    threads: int
    adapters: tuple[str, ...] = ()
    cache_ram_mib: int = 0


class Child:
    """A running child process; made by `start_child`."""

    def __init__(self, process: asyncio.subprocess.Process, log: IO[bytes], settings: ChildSettings) -> None:
        self.settings = settings
        self.key = secrets.token_urlsafe(32)
        self.address = ""
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs, as far as is known."""
        return self._process.returncode is None

    def tail(self) -> str:
        """Return the end of what the process wrote to stderr."""
        return self.written(max(0, self.log_size() - _TAIL_BYTES)).strip()

    def log_size(self) -> int:
        """Return how many bytes the process wrote to stderr so far."""
        return os.fstat(self._log.fileno()).st_size

    def written(self, since: int) -> str:
        """Return what the process wrote to stderr from a byte on, at most 64 KiB."""
        return os.pread(self._log.fileno(), _MOST_BYTES, since).decode("utf-8", "replace")

    async def died(self, seconds: float = 1.0) -> bool:
        """Say whether the process has ended, waiting a moment for the news."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)
        return not self.alive

    def epitaph(self) -> str:
        """Say how the process ended, with the end of its log."""
        code = self._process.returncode
        how = f"exit status {code}"
        if code is not None and code < 0:
            how = f"signal {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                how += ", perhaps for lack of memory"
        tail = self.tail()
        return f"{how}; its last words: {tail}" if tail else how

    async def say(self) -> dict[str, Any]:
        """Send the settings and return the child's answer; empty when it died without one."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("the child is started with pipes")
        with contextlib.suppress(ConnectionError):
            stdin.write(json.dumps({**asdict(self.settings), "key": self.key, "parent": os.getpid()}).encode() + b"\n")
            await stdin.drain()
        line = await stdout.readline()
        answer = json.loads(line) if line.endswith(b"\n") else {}
        return answer if isinstance(answer, dict) else {}

    async def stop(self) -> None:
        """End the process: its stdin closes, and if that does not help it is killed."""
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
        try:
            if not await self.died(_STOP_SECONDS):
                self._kill()
                await self._process.wait()
        finally:
            self._kill()
            self._log.close()

    def _kill(self) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()


async def start_child(settings: ChildSettings) -> Child:
    """Start the embedded server and wait until it answers.

    Raises:
        MissingExtraError: xllamacpp is not installed.
        ConfigError: The file cannot be a model.
        BackendUnavailable: It did not start; the message says why.
    """
    _check_installed()
    _check_file(Path(settings.model))
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the child
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", str(_CHILD),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        log.close()
        raise BackendUnavailable(f"the embedded model's process cannot be started: {error}") from error
    child = Child(process, log, settings)
    try:
        await _hear(child)
    except BaseException:
        await child.stop()
        raise
    return child


async def _hear(child: Child) -> None:
    """Wait for the child's address."""
    try:
        answer = await asyncio.wait_for(child.say(), START_SECONDS)
    except TimeoutError as error:
        raise BackendUnavailable(f"the embedded model did not start within {START_SECONDS:.0f} s") from error
    if "address" not in answer:
        await child.died()
        raise BackendUnavailable(_why(child, str(answer.get("error", ""))))
    child.address = str(answer["address"])


def _check_installed() -> None:
    import importlib.util

    if any(importlib.util.find_spec(name) is None for name in ("xllamacpp", "openai", "aiohttp")):
        raise MissingExtraError("the embedded model", "local")


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        raise ConfigError(
            f"{path}: the model's weights cannot be read ({error.strerror}); `engine models list` shows what there is"
        ) from error
    if magic != b"GGUF":
        raise ConfigError(f"{path} is not a GGUF file (it does not begin with 'GGUF'); give a model in GGUF format")


def _why(child: Child, error: str) -> str:
    """Say why the child did not start, looking at what llama.cpp does not tell."""
    if "libgomp" in error:
        return (
            "the embedded model needs the system library libgomp.so.1: install it "
            "(Debian, Ubuntu: apt-get install libgomp1; Fedora: dnf install libgomp; Alpine: apk add libgomp)"
        )
    for path in (child.settings.model, *child.settings.adapters):
        try:
            read_header(Path(path))
        except (GgufError, OSError) as problem:
            return f"{path} {problem}; delete it and fetch it again (`engine models pull`)"
    how = error or f"it ended with {child.epitaph()}"
    tail = child.tail() if error else ""
    return (
        f"the embedded model {child.settings.model} did not start: {how}{'; its last words: ' + tail if tail else ''}"
    )

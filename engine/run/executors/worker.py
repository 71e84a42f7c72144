"""A worker: one process of a cluster that runs several tasks at once, with a backend and sandboxes of its own.

Ray makes an actor of it; nothing here knows of Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.bundle.source import BundleSource
from engine.errors import ConfigError, EngineError
from engine.events import Bus, Event
from engine.run.executors.stream import Channel
from engine.run.executors.wire import Hello, Order, OtherFile, Setup, engine_version, unpacked, without_task
from engine.run.plan import Assignment, Task
from engine.run.routing import prepare
from engine.run.stage import Services
from engine.run.task import TaskResult, run_task
from engine.tools import ScriptRunner

_log = logging.getLogger("engine.run")
Said = tuple[Event, ...] | TaskResult | OtherFile
"""What comes back from a worker: events, at the end the result or why the task was not begun."""


@dataclass(frozen=True, slots=True)
class _Opened:
    services: Services
    assignments: tuple[Assignment, ...]


class Worker:
    """Runs tasks of one run; what it needs is opened by the first `hello` and kept."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._opened: _Opened | None = None
        self._tasks: set[asyncio.Task[TaskResult]] = set()
        self.host = socket.gethostname()

    async def hello(self, setup: Setup, *sources: BundleSource) -> Hello:
        """Open everything, and say who this is; what is wrong is said, never raised.

        Args:
            setup: What to open.
            sources: The bundles' files.
        """
        try:
            self._opened = self._opened or await self._open(setup, sources)
        except (EngineError, OSError) as exc:
            return Hello(self.host, os.getpid(), str(exc))
        return Hello(self.host, os.getpid())

    async def run(self, order: Order) -> AsyncIterator[Said]:
        """Run one task: its events as they happen, then its result.

        Raises:
            RuntimeError: This process took the place of one that died, and was not greeted yet.
        """
        opened = self._opened
        if opened is None:
            raise RuntimeError("the worker was not greeted")
        other = await asyncio.to_thread(other_file, opened.services.root, order, self.host)
        if other is not None:
            yield other
            return
        channel = Channel()
        task = order.task(opened.assignments)
        work = asyncio.create_task(run_task(task, opened.services, Bus(channel), order.run_id))
        self._tasks.add(work)
        try:
            async for events in channel.until(work):
                yield events
            yield without_task(self._result(work, task))
        finally:
            self._tasks.discard(work)
            await _stopped(work)

    async def stop(self) -> None:
        """Stop all tasks with what they started, and close everything."""
        for work in tuple(self._tasks):
            await _stopped(work)
        await self._stack.aclose()

    def _result(self, work: asyncio.Task[TaskResult], task: Task) -> TaskResult:
        exc = work.exception()
        if exc is None:
            return work.result()
        _log.error("task %s broke on %s", task.task_id, self.host, exc_info=exc)
        return TaskResult(task, "failed", "error", error=f"{type(exc).__name__}: {exc}")

    async def _open(self, setup: Setup, sources: Sequence[BundleSource]) -> _Opened:
        if engine_version() != setup.version:
            raise ConfigError(
                f"the engine is {engine_version()} there and {setup.version} here: every machine needs the same one"
            )
        if not setup.root.is_dir():
            raise ConfigError(f"there is no {setup.root}: every machine needs the project's files at the same path")
        with contextlib.suppress(OSError):
            os.chdir(setup.folder)
        assignments = await asyncio.to_thread(unpacked, setup.assignments, sources)
        backend = setup.backend([assignment.bundle for assignment in assignments])
        self._stack.push_async_callback(backend.aclose)
        await prepare(backend, assignments)
        scripts = await self._stack.enter_async_context(ScriptRunner())
        return _Opened(Services(setup.root, backend, scripts), assignments)


async def _stopped(work: asyncio.Task[TaskResult]) -> None:
    work.cancel()
    await asyncio.wait([work])


def other_file(root: Path, order: Order, host: str) -> OtherFile | None:
    """Return how the node's file differs from the driver's, or None."""
    seen = file_digest(root / order.node.file_path)
    return None if seen == order.file else OtherFile(host, str(root / order.node.file_path), seen)


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, hex; None when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None

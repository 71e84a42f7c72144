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
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engine.backends.pacing import PacedBackend
from engine.bundle.source import BundleSource
from engine.errors import ConfigError, EngineError
from engine.events import Bus, Event
from engine.run.execute import LocalRunner
from engine.run.executors.budget import Answer, RemoteBudget, Word
from engine.run.executors.stream import Channel
from engine.run.executors.wire import Hello, Order, OtherFile, Setup, Stopped, engine_version, unpacked, without_task
from engine.run.plan import Assignment, Task
from engine.run.routing import prepare
from engine.run.schedule.attempts import Attempts
from engine.run.stage import Services
from engine.run.task import TaskResult
from engine.tools import ScriptRunner

_log = logging.getLogger("engine.run")
Said = tuple[Event | Word, ...] | TaskResult | OtherFile | Stopped
"""What comes back from a worker: events and questions; at the end the result, or why there is none."""


@dataclass(frozen=True, slots=True)
class _Opened:
    services: Services
    assignments: tuple[Assignment, ...]
    shares: bool
    attempts: int
    given_up: Callable[[], str]


@dataclass(frozen=True, slots=True)
class _Running:
    work: asyncio.Task[TaskResult]
    budget: RemoteBudget | None


class Worker:
    """Runs tasks of one run; what it needs is opened by the first `hello` and kept."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._opened: _Opened | None = None
        self._running: dict[str, _Running] = {}
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
        channel, task = Channel(), order.task(opened.assignments)
        budget = RemoteBudget(channel.say) if opened.shares else None
        runner = LocalRunner(replace(opened.services, budget=budget))
        attempts = Attempts(runner, opened.attempts, opened.given_up)
        work = asyncio.create_task(attempts.run(task, Bus(channel), order.run_id))
        self._running[task.task_id] = _Running(work, budget)
        try:
            async for said in channel.until(work):
                yield said
            yield Stopped() if work.cancelled() else without_task(self._result(work, task))
        finally:
            self._running.pop(task.task_id, None)
            await _stopped(work)

    async def answer(self, task_id: str, answer: Answer) -> None:
        """Take the driver's answer to a question about the budget."""
        running = self._running.get(task_id)
        if running is not None and running.budget is not None:
            running.budget.hear(answer)

    async def cancel(self, task_id: str) -> None:
        """Cancel a task; what it still says comes with its stream."""
        running = self._running.get(task_id)
        if running is not None:
            running.work.cancel()

    async def stop(self) -> None:
        """Stop all tasks with what they started, and close everything."""
        for running in tuple(self._running.values()):
            await _stopped(running.work)
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
        services = Services(setup.root, backend, scripts, prices=setup.prices)
        given_up: Callable[[], str] = str
        if backend.name != "embedded":
            paced = PacedBackend(backend, setup.concurrency, outage=setup.outage)
            services = replace(services, backend=await self._stack.enter_async_context(paced))
            given_up = partial(getattr, paced, "given_up")
        return _Opened(services, assignments, setup.shares, setup.attempts, given_up)


async def _stopped(work: asyncio.Task[TaskResult]) -> None:
    work.cancel()
    await asyncio.wait([work])


def other_file(root: Path, order: Order, host: str) -> OtherFile | None:
    """Return how the node's file differs from the driver's, or None."""
    path = root / order.bare.node.file_path
    seen = file_digest(path)
    return None if seen == order.file else OtherFile(host, str(path), seen)


def file_digest(path: Path) -> str | None:
    """Return the SHA-256 of a file, hex; None when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None

"""Tasks on a Ray cluster: the driver schedules, logs and stores, the workers do.

Ray places the workers, starts them again when they or their machine die, and carries what they say. Each task is a
stream of its events, which end in its result; so the log has one writer, and its order is that of the task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.events import Bus, ErrorOccurred, Event
from engine.run.executors.cluster import connected
from engine.run.executors.pool import Pool, Seat
from engine.run.executors.wire import OpenBackend, Order, OtherFile, Setup, engine_version, pack, read_sources
from engine.run.executors.worker import Worker, file_digest
from engine.run.plan import Assignment, Task
from engine.run.task import TaskResult

# The CPUs of a worker that computes itself; one that only waits for a server needs one.
_COMPUTES = 4


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How tasks get onto a cluster.

    Attributes:
        address: The cluster's address; None takes the one that Ray finds, else makes one on this machine.
        backend: Makes the backend of a worker.
        computes: Whether the backend computes in the worker, and so needs more than one CPU.
        attempts: How often a task is tried whose worker died.
        workers: At most this many.
    """

    address: str | None
    backend: OpenBackend
    computes: bool = False
    attempts: int = 2
    workers: int = 1024


@contextlib.asynccontextmanager
async def ray_runner(root: Path, assignments: Sequence[Assignment], options: RayOptions) -> AsyncIterator[RayRunner]:
    """Have workers ready for a run; they end with it.

    Args:
        root: The project's root.
        assignments: The run's assignments.
        options: How.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There is no cluster, or its workers cannot run these tasks; the message names the machine.
    """
    sources = await asyncio.to_thread(read_sources, [assignment.bundle for assignment in assignments])
    packed = tuple(pack(assignment) for assignment in assignments)
    setup = Setup(engine_version(), root, str(Path.cwd()), options.backend, packed)
    async with connected(options.address) as ray:
        handles = _actors(ray, options)
        pool = Pool(handles, [ray.put(one) for one in (setup, *sources)])
        try:
            await pool.start()
            yield RayRunner(ray, pool, root, assignments, options.attempts)
        finally:
            await pool.stop()
            for handle in handles:
                ray.kill(handle)


def _actors(ray: Any, options: RayOptions) -> list[Any]:
    """Have Ray place the workers: one for each CPU, or for each few where they compute."""
    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cpus = max(1, min(_COMPUTES, max(sizes, default=1))) if options.computes else 1
    count = sum(size // cpus for size in sizes)
    if not count:
        raise ConfigError("the Ray cluster has no CPU for a worker: ray start --num-cpus N gives it some")
    actor = ray.remote(num_cpus=cpus, max_restarts=-1, scheduling_strategy="SPREAD", max_concurrency=10_000)(Worker)
    return [actor.remote() for _ in range(min(count, options.workers))]


class RayRunner:
    """Runs tasks on workers.

    Args:
        ray: The module.
        pool: The workers.
        root: The project's root.
        assignments: As the workers know them.
        attempts: How often a task is tried whose worker died.
    """

    def __init__(self, ray: Any, pool: Pool, root: Path, assignments: Sequence[Assignment], attempts: int) -> None:
        self._ray, self._pool, self._root, self._attempts = ray, pool, root, attempts
        self._places = {id(assignment): place for place, assignment in enumerate(assignments)}
        self._keep = assignments

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task; when its worker dies, again on another one."""
        from ray.exceptions import RayError

        attempt = 0
        while True:
            attempt += 1
            seat = await self._pool.take()
            try:
                return replace(await self._on(seat, task, bus, run_id), attempts=attempt)
            except RayError as exc:
                self._pool.lost(seat)
                lost = f"the worker on {seat.host} was lost: {type(exc).__name__}"
                await bus.emit(ErrorOccurred(run_id=run_id, task_id=task.task_id, error_type="lost", message=lost))
                if attempt >= self._attempts:
                    return TaskResult(task, "failed", "error", error=lost, attempts=attempt)
            finally:
                self._pool.give_back(seat)

    async def _on(self, seat: Seat, task: Task, bus: Bus, run_id: str) -> TaskResult:
        order = await self._order(task, run_id)
        stream = seat.handle.run.options(num_returns="streaming").remote(order)
        try:
            async for reference in stream:
                said = await reference
                if isinstance(said, TaskResult):
                    return replace(said, task=task)
                if isinstance(said, OtherFile):
                    return TaskResult(task, "failed", "error", error=str(said))
                await _tell(bus, said)
        except asyncio.CancelledError:
            self._ray.cancel(stream)
            raise
        raise AssertionError("a worker's stream ends with a result")

    async def _order(self, task: Task, run_id: str) -> Order:
        file = await asyncio.to_thread(file_digest, self._root / task.node.file_path)
        return Order(run_id, task.task_id, self._places[id(task.assignment)], task.node, task.note, file)


async def _tell(bus: Bus, events: Sequence[Event]) -> None:
    for event in events:
        await bus.emit(event)

"""Tasks on a Ray cluster: the driver schedules, logs and stores, the workers do.

Ray places the workers, starts them again when they or their machine die, and carries what they say. Each task is a
stream of its events, which end in its result; so the log has one writer, and its order is that of the task.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.events import Bus
from engine.run.executors.cluster import connected
from engine.run.executors.pool import Pool
from engine.run.executors.visit import Visit
from engine.run.executors.wire import OpenBackend, Order, Setup, engine_version, order_of, pack, read_sources
from engine.run.executors.worker import Worker, file_digest
from engine.run.plan import Assignment, Task
from engine.run.schedule.attempts import ENDED, SERVER
from engine.run.stage import Services
from engine.run.task import TaskResult

# The CPUs of a worker that computes itself; one that only waits for a server needs one.
_COMPUTES = 4
# How often a task may find a worker dead before it could begin.
_MISSES = 10


@dataclass(frozen=True, slots=True)
class RayOptions:
    """How tasks get onto a cluster.

    Attributes:
        address: The cluster's address; None takes the one that Ray finds, else makes one on this machine.
        backend: Makes the backend of a worker.
        computes: Whether the backend computes in the worker, and so needs more than one CPU.
    """

    address: str | None
    backend: OpenBackend
    computes: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """What a run asks of its workers.

    Attributes:
        concurrency: Tasks at once, on all of them.
        attempts: How often a task is tried that the server failed, or whose worker died.
        outage: Seconds that the server may be away before it is given up.
    """

    concurrency: int
    attempts: int
    outage: float


@contextlib.asynccontextmanager
async def ray_runner(
    services: Services, assignments: Sequence[Assignment], options: RayOptions, terms: Terms
) -> AsyncIterator[RayRunner]:
    """Have workers ready for a run; they end with it.

    Args:
        services: What the run has here: its root, budget and prices.
        assignments: The run's assignments.
        options: How tasks get onto the cluster.
        terms: What is asked of the workers.

    Raises:
        MissingExtraError: Ray is not installed.
        ConfigError: There is no cluster, or its workers cannot run these tasks; the message names the machine.
    """
    sources = await asyncio.to_thread(read_sources, [assignment.bundle for assignment in assignments])
    setup = Setup(
        engine_version(),
        services.root,
        str(Path.cwd()),
        options.backend,
        tuple(pack(assignment) for assignment in assignments),
        services.prices,
        services.budget is not None,
        terms.attempts,
        terms.concurrency,
        terms.outage,
    )
    async with connected(options.address) as ray:
        handles = _actors(ray, options, terms.concurrency)
        pool = Pool(handles, [ray.put(one) for one in (setup, *sources)])
        try:
            await pool.start()
            yield RayRunner(pool, services, assignments, terms.attempts)
        finally:
            await pool.stop()
            for handle in handles:
                ray.kill(handle)


def _actors(ray: Any, options: RayOptions, most: int) -> list[Any]:
    """Have Ray place the workers: one for each CPU, or for each few where they compute."""
    sizes = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    cpus = max(1, min(_COMPUTES, max(sizes, default=1))) if options.computes else 1
    count = sum(size // cpus for size in sizes)
    if not count:
        raise ConfigError("the Ray cluster has no CPU for a worker: ray start --num-cpus N gives it some")
    actor = ray.remote(num_cpus=cpus, max_restarts=-1, scheduling_strategy="SPREAD", max_concurrency=10_000)(Worker)
    return [actor.remote() for _ in range(min(count, most))]


class RayRunner:
    """Runs tasks on workers; `on_given_up` is called when a worker gives the server up, with the reason.

    Args:
        pool: The workers.
        services: What the run has here.
        assignments: As the workers know them.
        attempts: How often a task is tried whose worker died.
    """

    def __init__(self, pool: Pool, services: Services, assignments: Sequence[Assignment], attempts: int) -> None:
        self._pool, self._services, self._attempts = pool, services, attempts
        # By identity: the plan's tasks share these very objects, and `assignments` keeps them alive.
        self._places = {id(assignment): place for place, assignment in enumerate(assignments)}
        self._assignments = assignments
        self.on_given_up: Callable[[str], None] = lambda _: None

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task; when its worker dies, again on another one."""
        from ray.exceptions import RayError

        lost = missed = 0
        while True:
            seat = await self._pool.take()
            visit = Visit(seat, self._services, bus, run_id, task)
            try:
                result = await visit.run(await self._order(task, run_id))
            except RayError as exc:
                self._pool.lost(seat)
                why = f"the worker on {seat.host} was lost: {type(exc).__name__}"
                # One that was dead before it had begun, as where a whole machine went, was no try of the task.
                missed, lost = missed + (not visit.begun), lost + visit.begun
                await visit.lost(why)
                if lost >= self._attempts or missed >= _MISSES:
                    return TaskResult(task, "failed", "error", error=why, attempts=max(lost, 1))
            else:
                if result.reason == SERVER and result.outcome == "stopped":
                    self.on_given_up((result.error or "the server is away").removeprefix(ENDED))
                return replace(result, attempts=result.attempts + lost)
            finally:
                visit.close()
                self._pool.give_back(seat)

    async def _order(self, task: Task, run_id: str) -> Order:
        file = await asyncio.to_thread(file_digest, self._services.root / task.node.file_path)
        return order_of(task, run_id, self._places[id(task.assignment)], file)

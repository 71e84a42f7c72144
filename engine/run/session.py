"""One invocation: the plan is executed, every event logged, every change stored, and at the end perhaps accepted."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.discovery import Discovery
from engine.events import Bus, EventLog, RunPlanned, RunStarted
from engine.run.execute import Executor, RunResult, run_finished
from engine.run.plan import Assignment, Task
from engine.run.review import Review
from engine.run.task import Services, TaskResult
from engine.workspace import ChangeStore


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do."""

    assignments: tuple[Assignment, ...]
    discovery: Discovery
    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a plan is executed.

    Attributes:
        concurrency: Tasks at once.
        seconds: Upper bound of the run, on the clock.
        targets: What the user named.
        auto_accept: Names of bundles whose checked changes are accepted at the end.
        described: The settings in force, for the log.
    """

    concurrency: int
    seconds: float = 3600
    targets: Sequence[str] = ()
    auto_accept: frozenset[str] = frozenset()
    described: Mapping[str, Any] = field(default_factory=dict)


def new_run_id() -> str:
    """Return a run id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class Session:
    """A run from its plan to its result.

    Args:
        plan: What to do.
        services: What the tasks share.
        log: The event log.
        store: The change store.
        settings: How to do it.
    """

    def __init__(
        self, plan: Plan, services: Services, log: EventLog, store: ChangeStore, settings: RunSettings
    ) -> None:
        self.plan, self._services, self._log, self._store, self._settings = plan, services, log, store, settings
        self.run_id = new_run_id()

    @property
    def root(self) -> Path:
        """The project's root."""
        return self._services.root

    async def run(self, observers: Sequence[Any] = (), *, apply: bool = False) -> RunResult:
        """Execute the plan.

        Args:
            observers: Get every event after the log has it.
            apply: Accept all offered changes at the end.
        """
        started = time.monotonic()
        bus = Bus(self._log, *observers)
        await self._announce(bus)
        executor = Executor(
            self._services, bus, self.run_id, concurrency=self._settings.concurrency, offer=self._offer
        )
        status = "interrupted"
        decisions: tuple[Any, ...] = ()
        try:
            status = await executor.run(self.plan.tasks, self._settings.seconds)
            decisions = await self._accept(bus, everything=apply)
        finally:
            # Also on Ctrl-C: the log says how the run ended, and what finished tasks offered stays pending.
            await bus.emit(run_finished(self.run_id, status, executor.results, started))
            await asyncio.to_thread(self._log.flush)
        return RunResult(
            self.run_id, status, tuple(executor.results), round(time.monotonic() - started, 3), decisions
        )

    async def _announce(self, bus: Bus) -> None:
        discovery = self.plan.discovery
        bundles = tuple(assignment.bundle.name for assignment in self.plan.assignments)
        await bus.emit(
            RunStarted(
                run_id=self.run_id,
                bundles=bundles,
                targets=tuple(self._settings.targets),
                settings=self._settings.described,
            )
        )
        await bus.emit(
            RunPlanned(
                run_id=self.run_id,
                files=discovery.files,
                nodes=len(discovery.nodes),
                tasks=len(self.plan.tasks),
                notes=tuple(str(note) for note in discovery.notes),
            )
        )

    async def _offer(self, result: TaskResult) -> None:
        if result.changes:
            node = result.task.node
            await asyncio.to_thread(
                self._store.offer, self.run_id, result.task.task_id, f"{node.file_path}::{node.qualified_name}",
                result.changes,
            )

    async def _accept(self, bus: Bus, *, everything: bool) -> tuple[Any, ...]:
        names = self._settings.auto_accept
        if not everything and not names:
            return ()
        review = Review(self.root, self._store, self.run_id)
        wanted = [
            task.task_id for task in self.plan.tasks if everything or task.bundle.name in names
        ]
        decisions = await asyncio.to_thread(review.accept_tasks, wanted)
        for event in review.events(decisions):
            await bus.emit(event)
        return tuple(decisions)

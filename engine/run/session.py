"""One invocation: the plan is executed, every event logged, every change stored, and at the end perhaps accepted."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.discovery import Discovery
from engine.events import Bus, Event, EventLog, RunPlanned, RunStarted, StoredEvent
from engine.run.enforcement import Enforcer
from engine.run.execute import Executor, InOrder, LocalRunner, RunResult, Schedule, TaskRunner, run_finished
from engine.run.plan import Assignment, Task, matches
from engine.run.render import Rendered, render_task
from engine.run.review import Review
from engine.run.routing import prepare
from engine.run.stage import Services
from engine.run.task import TaskResult
from engine.workspace import ChangeStore, Decision

if TYPE_CHECKING:
    from engine.run.executors.ray_runner import RayOptions

Mirror = Callable[[StoredEvent], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do."""

    assignments: tuple[Assignment, ...]
    discoveries: tuple[Discovery, ...]
    tasks: tuple[Task, ...]

    @property
    def notes(self) -> list[str]:
        """Files that were left out or only read in part, and why."""
        return list(dict.fromkeys(str(note) for part in self.discoveries for note in part.notes))

    def why_no_task(self, patterns: Sequence[str]) -> str:
        """Say why the bundle takes none of the nodes that were asked for."""
        nodes = [node for part in self.discoveries for node in part.nodes]
        there = [node.qualified_name for node in nodes if any(matches(node, pattern) for pattern in patterns)]
        if there:
            return f"the bundle does not take {there[0]}: its nodes.when leaves it out"
        names = ", ".join(dict.fromkeys(node.qualified_name for node in nodes))
        return f"there is no such node; the file has: {names[:400] or 'none of the languages and types of the bundle'}"

    def without_constraints(self, bundles: Collection[str]) -> Plan:
        """Return the plan with these bundles asked for without their constraint."""
        if not bundles:
            return self
        changed = {id(one): replace(one, unconstrained=one.bundle.name in bundles) for one in self.assignments}
        tasks = tuple(replace(task, assignment=changed[id(task.assignment)]) for task in self.tasks)
        return replace(self, assignments=tuple(changed.values()), tasks=tasks)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How a plan is executed.

    Attributes:
        concurrency: Tasks at once.
        seconds: Upper bound of the run, on the clock.
        targets: What the user named.
        auto_accept: Names of bundles whose checked changes are accepted at the end.
        allow_unconstrained: Run bundles whose declared constraint is not in force, and say so.
        described: The settings in force, for the log.
        request: All that was asked for, as JSON, so that the run can be gone on with.
        ray: How the tasks get onto a cluster; None for a run in this process.
    """

    concurrency: int
    seconds: float = 3600
    targets: Sequence[str] = ()
    auto_accept: frozenset[str] = frozenset()
    allow_unconstrained: bool = False
    described: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    ray: RayOptions | None = None


def new_run_id() -> str:
    """Return a run id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class Session:
    """A run from its plan to its result.

    Args:
        plan: What to do.
        services: What the tasks share.
        settings: How to do it.
        open_log: Opens the event log.
        open_store: Opens the change store of a project.
        enforcer: Remembers which constraints of this backend were seen in force, from session to session.
    """

    def __init__(
        self,
        plan: Plan,
        services: Services,
        settings: RunSettings,
        open_log: Callable[[], EventLog],
        open_store: Callable[[Path], ChangeStore],
        *,
        enforcer: Enforcer | None = None,
    ) -> None:
        self._enforcer = enforcer or Enforcer(services.backend, allow=settings.allow_unconstrained)
        self.plan, self._services, self._settings = plan, services, settings
        self._open_log, self._open_store = open_log, open_store
        self.run_id = new_run_id()
        self._checked: tuple[str, ...] | None = None

    async def render(self, task: Task) -> Rendered:
        """Return a task's first request; calls no model."""
        return await render_task(task, self._services)

    async def check(self) -> tuple[str, ...]:
        """See whether the server has what the plan needs and enforces the constraints that its bundles declare.

        One short request is sent for each model and kind of constraint, once; `run` does it too. Nothing is written.

        Returns:
            What is not in force, where the settings allow that; those bundles are asked without their constraint if the
            server cannot be asked for it.

        Raises:
            UnenforcedError: A constraint is not in force.
            BackendError: The server cannot be reached, or lacks something.
        """
        if self._checked is None:
            backend = self._services.backend
            await backend.model_name()
            used = {task.bundle.name for task in self.plan.tasks}
            needed = [one for one in self.plan.assignments if one.bundle.name in used]
            left_out = await prepare(backend, needed)
            findings = await self._enforcer.check(needed)
            self.plan = self.plan.without_constraints(findings.bare)
            self._checked = (*left_out, *findings.notes)
        return self._checked

    async def run(
        self, observers: Sequence[object] = (), *, apply: bool = False, mirror: Mirror | None = None
    ) -> RunResult:
        """Execute the plan.

        Args:
            observers: Get every event, after the log.
            apply: Accept all offered changes at the end.
            mirror: Gets every event as the log stores it.

        Raises:
            UnenforcedError: A declared constraint is not in force; nothing was started.
            BackendError: The backend cannot be reached at all; nothing was started.
        """
        await self.check()
        store = await asyncio.to_thread(self._open_store, self._services.root)
        log = await asyncio.to_thread(self._open_log)
        try:
            return await self._execute(Bus(_Recorder(log, mirror), *observers), store, apply=apply)
        finally:
            await asyncio.to_thread(log.close)

    async def _execute(self, bus: Bus, store: ChangeStore, *, apply: bool) -> RunResult:
        started = time.monotonic()
        status, decisions = "interrupted", list[Decision]()
        async with contextlib.AsyncExitStack() as stack:
            runner = await self._make_runner(bus, stack)
            for event in self._announcements():
                await bus.emit(event)
            executor = Executor(runner, bus, self.run_id, offer=partial(_offer, store, self.run_id))
            schedule = self._make_schedule(bus)
            try:
                status = await executor.run(schedule, self._settings.seconds)
                decisions = await self._accept(bus, store, everything=apply)
            finally:
                # Also on Ctrl-C: the log says how the run ended, and what finished tasks offered stays pending.
                await bus.emit(run_finished(self.run_id, status, executor.results, started))
        seconds = round(time.monotonic() - started, 3)
        return RunResult(self.run_id, status, tuple(executor.results), seconds, tuple(decisions))

    async def _make_runner(self, bus: Bus, stack: contextlib.AsyncExitStack) -> TaskRunner:  # noqa: ARG002 - for runners that hold something
        """Make what runs one task; whatever it opens is closed by the stack at the end of the run."""
        if self._settings.ray is not None:
            from engine.run.executors.ray_runner import ray_runner

            where = ray_runner(self._services.root, self.plan.assignments, self._settings.ray)
            return await stack.enter_async_context(where)
        return LocalRunner(self._services)

    def _make_schedule(self, bus: Bus) -> Schedule:  # noqa: ARG002 - for schedules that say what they do
        """Make what decides which task starts next."""
        return InOrder(self.plan.tasks, self._settings.concurrency)

    def _announcements(self) -> list[Event]:
        plan, settings = self.plan, self._settings
        return [
            RunStarted(
                run_id=self.run_id,
                bundles=tuple(assignment.bundle.name for assignment in plan.assignments),
                targets=tuple(settings.targets),
                settings=settings.described,
                request=settings.request,
                digests={assignment.bundle.name: assignment.bundle.digest for assignment in plan.assignments},
            ),
            RunPlanned(
                run_id=self.run_id,
                files=max((part.files for part in plan.discoveries), default=0),
                nodes=sum(len(part.nodes) for part in plan.discoveries),
                tasks=len(plan.tasks),
                notes=(*plan.notes, *(self._checked or ())),
            ),
        ]

    async def _accept(self, bus: Bus, store: ChangeStore, *, everything: bool) -> list[Decision]:
        names = self._settings.auto_accept
        wanted = [task.task_id for task in self.plan.tasks if everything or task.bundle.name in names]
        if not wanted:
            return []
        review = Review(self._services.root, store, self.run_id)
        decisions = await asyncio.to_thread(review.accept_tasks, wanted)
        for event in review.events(decisions):
            await bus.emit(event)
        return decisions


class _Recorder:
    """The observer that logs, and shows what it logged."""

    def __init__(self, log: EventLog, mirror: Mirror | None) -> None:
        self._log, self._mirror = log, mirror

    async def on_event(self, event: Event) -> None:
        """Log an event."""
        stored = self._log.append(event)
        if self._mirror is not None:
            self._mirror(stored)


async def _offer(store: ChangeStore, run_id: str, result: TaskResult) -> None:
    if result.changes:
        node = result.task.node
        place = f"{node.file_path}::{node.qualified_name}"
        await asyncio.to_thread(store.offer, run_id, result.task.task_id, place, result.changes)

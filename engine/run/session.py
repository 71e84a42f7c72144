"""One invocation: the plan is executed, every event logged, every change stored, and at the end perhaps accepted."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backends.pacing import PacedBackend
from engine.events import Bus, Event, EventLog, PaceChanged, RunPlanned, RunResumed, RunStarted
from engine.run.again import run_again
from engine.run.cache import CachedRunner, RunCache, TaskKey, open_run_cache
from engine.run.claim import running
from engine.run.collecting import old_left_alone
from engine.run.enforcement import Enforcer
from engine.run.execute import Executor, LocalRunner, Schedule, TaskRunner
from engine.run.housekeeping import tidying
from engine.run.offering import Mirror, Offering, Recorder, offer_all, offer_one, slim
from engine.run.plan import Task
from engine.run.recording import in_force, record_plan
from engine.run.render import Rendered, render_task
from engine.run.results import NOTHING_EARLIER, Earlier, RunResult, StoredChanges, run_finished
from engine.run.review import Review
from engine.run.routing import prepare
from engine.run.run_plan import Plan, RunSettings
from engine.run.schedule import Attempts, Stacked, Timetable, tasks_before
from engine.run.sources import FreshRunner, Sources
from engine.run.spent import Account
from engine.run.stage import Services
from engine.run.task import TaskResult
from engine.workspace import ChangeStore, Decision

if TYPE_CHECKING:
    from engine.run.executors.ray_runner import RayRunner


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
        self.run_id = plan.resumed.past.run_id if plan.resumed else new_run_id()
        self._checked: tuple[str, ...] | None = None
        self._paced: PacedBackend | None = None
        self._cluster: RayRunner | None = None
        self._cache = open_run_cache(services, settings.cache)
        self._looked = False
        self._account = Account(services)

    @property
    def settings(self) -> RunSettings:
        """How the plan is executed."""
        return self._settings

    async def render(self, task: Task, *, ask: bool = True) -> Rendered:
        """Return a task's first request; calls no model, and without `ask` no server at all."""
        return await render_task(task, self._services, ask=ask)

    async def look(self) -> Plan:
        """Return the plan with what the cache has for it; calls no model and writes nothing.

        Raises:
            BackendError: The server does not say what it is.
        """
        if self._cache is not None and not self._looked:
            self.plan = await self._cache.planned(self.plan)
            self._looked = True
        return self.plan

    async def key(self, task: Task) -> TaskKey | None:
        """Return what the cache has a task's result under; None where none is ever kept.

        Raises:
            BackendError: The server does not say what it is.
        """
        return await (self._cache or RunCache(self._services)).key(task)

    @property
    def cache_problem(self) -> str | None:
        """Why the cache could not be used, in one line with the way out; None where it could."""
        return self._cache.problem if self._cache is not None else None

    async def check(self) -> tuple[str, ...]:
        """See whether the server has what the plan needs and enforces the constraints that its bundles declare.

        One short request is sent for each model and kind of constraint, once; `run` does it too. Nothing is written.

        Returns:
            What is not in force, where the settings allow that; those bundles are asked without their constraint if the
            server cannot be asked for it.

        Raises:
            ConfigError: The cost is limited, and the price of a model that is asked is not declared.
            UnenforcedError: A constraint is not in force.
            BackendError: The server cannot be reached, or lacks something.
        """
        await self.look()
        used = {task.bundle.name for task in self.plan.tasks if task.task_id not in self.plan.cached}
        if self._checked is None and not used and (self.plan.cached or self.plan.resumed is not None):
            self._checked = ()  # nobody is going to be asked
        if self._checked is None:
            backend = self._services.backend
            model = await backend.model_name()
            needed = [one for one in self.plan.assignments if one.bundle.name in used]
            self._account.check(needed, model)
            left_out = await prepare(backend, needed)
            findings = await self._enforcer.check(needed)
            self.plan = self.plan.without_constraints(findings.bare)
            if self._cache is not None:
                self._cache.leave_out(findings.ignored)
            if findings.bare and self._cache is not None:
                self.plan = await self._cache.planned(self.plan)
            self._checked = (*left_out, *findings.notes, *filter(None, [self.cache_problem]))
        return self._checked

    async def run(
        self, observers: Sequence[object] = (), *, apply: bool | None = None, mirror: Mirror | None = None
    ) -> RunResult:
        """Execute the plan.

        Args:
            observers: Get every event, after the log.
            apply: Accept all offered changes at the end; None means no, or as at first where the run is gone on with.
            mirror: Gets every event as the log stores it.

        Raises:
            UnenforcedError: A declared constraint is not in force; nothing was started.
            BackendError: The backend cannot be reached at all; nothing was started.
        """
        await self.check()
        apply = self.plan.resumed is not None and self.plan.resumed.past.apply if apply is None else apply
        store = await asyncio.to_thread(self._open_store, self._services.root)
        log = await asyncio.to_thread(self._open_log)
        with running(self.run_id), old_left_alone():
            try:
                bus = Bus(Recorder(log, mirror), *observers)
                async with tidying(self._services.root, log.path, self._settings.keep, self.run_id):
                    return await self._execute(bus, store, log, apply=apply)
            finally:
                await asyncio.to_thread(log.close)

    async def _execute(self, bus: Bus, store: ChangeStore, log: EventLog, *, apply: bool) -> RunResult:
        started = time.monotonic()
        status, decisions = "interrupted", list[Decision]()
        async with contextlib.AsyncExitStack() as stack:
            runner: TaskRunner = FreshRunner(await self._make_runner(bus, stack), await self._sources())
            if self._cache is not None:
                stack.push_async_callback(self._cache.aclose)
                runner = CachedRunner(runner, self._cache, self.plan.cached)
            before = tasks_before(self.plan.tasks, self.plan.resumed.rows if self.plan.resumed else None)
            runner = Stacked(runner, before, store) if before else runner
            await self._open(bus, log, apply=apply)
            offer, keep = Offering(store, self.run_id).offer, partial(slim, store, self.run_id)
            executor = Executor(runner, bus, self.run_id, offer=offer, keep=keep)
            try:
                async with log.guarding():
                    for one in self.plan.resumed.settled if self.plan.resumed else ():
                        await executor.finish(one.result, one.told)
                    left = await self._take(executor, store)
                    reached = self._status(await executor.run(self._make_schedule(left), self._settings.seconds))
                    decisions = await self._accept(bus, store, everything=apply)
                    status = reached  # not before: a run that is to accept its changes is not over until it has
            finally:
                # Also on Ctrl-C: the log says how the run ended, and what finished tasks offered stays pending.
                ended = run_finished(self.run_id, status, executor.results, started, self._earlier)
                used = log.used(self.run_id)
                ended = replace(ended, usage=used.usage, cost=self._account.cost(used))
                await bus.emit(ended)
        stored = StoredChanges(store, self.run_id, None, ended.changes)
        results, problem = tuple(executor.results), executor.problem
        return RunResult(
            self.run_id,
            status,
            results,
            ended.seconds,
            tuple(decisions),
            problem,
            self._earlier,
            stored,
            ended.usage,
            ended.cost,
        )

    async def again(self, task: Task, run_id: str, observers: Sequence[object] = ()) -> TaskResult:
        """Run a task of the plan as one of a run that is over; what it offers replaces what waits of it there.

        Args:
            task: The task.
            run_id: The run.
            observers: Get the task's events, after the log.
        """
        self._looked = True  # it is asked anew, whatever the cache has
        await self.check()
        store = await asyncio.to_thread(self._open_store, self._services.root)
        log = await asyncio.to_thread(self._open_log)
        try:
            return await run_again(
                task, self._services, run_id, Bus(log, *observers), partial(offer_one, store, run_id)
            )
        finally:
            await asyncio.to_thread(log.close)

    async def _sources(self) -> Sources:
        files = dict.fromkeys(task.node.file_path for task in self.plan.tasks)
        return await asyncio.to_thread(Sources, self._services.root, files, self.plan.since)

    @property
    def _earlier(self) -> Earlier:
        return self.plan.resumed.past.earlier if self.plan.resumed else NOTHING_EARLIER

    def _status(self, status: str) -> str:
        """Return the status of the whole run, given that of this part of it."""
        earlier = self._earlier
        return "failed" if status == "finished" and earlier.count("finished") < earlier.tasks else status

    async def _open(self, bus: Bus, log: EventLog, *, apply: bool) -> None:
        """Log what is going to be done, before any of it is."""
        await bus.emit(self._opening(apply=apply))
        if self.plan.resumed is not None:
            await self._account.go_on(bus, log, self.run_id)
        if self.plan.resumed is None or not self.plan.resumed.past.planned:
            await record_plan(log, self.run_id, self.plan.tasks)
            await bus.emit(self._planned())

    async def _make_runner(self, bus: Bus, stack: contextlib.AsyncExitStack) -> TaskRunner:
        """Make what runs one task; whatever it opens is closed by the stack at the end of the run."""
        if self._settings.ray is not None:
            from engine.run.executors.ray_runner import Terms, ray_runner

            terms = Terms(self._settings.concurrency, self._settings.attempts, self._settings.outage)
            where = ray_runner(self._services, self.plan.assignments, self._settings.ray, terms)
            self._cluster = await stack.enter_async_context(where)
            return self._cluster
        return await self._local_runner(bus, stack)

    async def _local_runner(self, bus: Bus, stack: contextlib.AsyncExitStack) -> TaskRunner:
        """Make what runs a task here; the embedded model has its own number of requests at once, any other adapts."""
        services, settings = self._services, self._settings
        if services.backend.name == "embedded":
            return Attempts(LocalRunner(services), settings.attempts, str)
        tell = partial(_tell_pace, bus, self.run_id)
        paced = PacedBackend(services.backend, settings.concurrency, outage=settings.outage, tell=tell)
        self._paced = await stack.enter_async_context(paced)
        runner = LocalRunner(replace(services, backend=paced))
        return Attempts(runner, settings.attempts, lambda: paced.given_up)

    async def _take(self, executor: Executor, store: ChangeStore) -> Sequence[Task]:
        """Take what the cache has, but for tasks that come after others; return the tasks that are left."""
        if self._cache is None or not self.plan.cached:
            return self.plan.tasks
        first = [task for task in self.plan.tasks if not task.assignment.after]
        results = self._cache.results(first, self.plan.cached)
        taken = await executor.take(results, partial(offer_all, store, self.run_id))
        return [task for task in self.plan.tasks if task.task_id not in taken]

    def _make_schedule(self, tasks: Sequence[Task]) -> Schedule:
        """Make what decides which task starts next."""
        plan, settings = self.plan, self._settings
        earlier = plan.resumed.rows if plan.resumed else None
        ready = self._paced.ready if self._paced else None
        table = Timetable(tasks, settings.concurrency, on_failure=settings.on_failure, earlier=earlier, ready=ready)
        if self._paced is not None:
            self._paced.on_given_up = table.stop
        if self._cluster is not None:
            self._cluster.on_given_up = table.stop
        return table

    def _opening(self, *, apply: bool) -> Event:
        plan, settings, resumed = self.plan, self._settings, self.plan.resumed
        if resumed is not None:
            done = resumed.past.earlier.tasks + len(resumed.settled)
            notes = (*resumed.notes, *(self._checked or ()))
            budget, given = settings.described.get("budget"), settings.request.get("budget", {})
            return RunResumed(
                run_id=self.run_id, done=done, left=len(plan.tasks), notes=notes, budget=budget, given=given
            )
        return RunStarted(
            run_id=self.run_id,
            bundles=tuple(assignment.bundle.name for assignment in plan.assignments),
            targets=tuple(settings.targets),
            settings={**settings.described, "apply": apply, "in_force": in_force(plan.assignments)},
            request=settings.request,
            digests={assignment.bundle.name: assignment.bundle.digest for assignment in plan.assignments},
        )

    def _planned(self) -> Event:
        plan = self.plan
        return RunPlanned(
            run_id=self.run_id,
            files=max((part.files for part in plan.discoveries), default=0),
            nodes=sum(len(part.nodes) for part in plan.discoveries),
            tasks=len(plan.tasks),
            notes=(*plan.notes, *(self._checked or ())),
            cached=len(plan.cached),
        )

    async def _accept(self, bus: Bus, store: ChangeStore, *, everything: bool) -> list[Decision]:
        wanted = [task.task_id for task in self.plan.tasks if everything or task.assignment.auto_accept]
        if self.plan.resumed is not None:
            wanted += await asyncio.to_thread(self.plan.resumed.offered, everything=everything)
        if not wanted:
            return []
        review = Review(self._services.root, store, self.run_id)
        decisions = await asyncio.to_thread(review.accept_tasks, wanted)
        for event in review.events(decisions):
            await bus.emit(event)
        await asyncio.to_thread(review.mark_told, decisions)
        return decisions


async def _tell_pace(bus: Bus, run_id: str, limit: int, reason: str) -> None:
    await bus.emit(PaceChanged(run_id=run_id, limit=limit, reason=reason))

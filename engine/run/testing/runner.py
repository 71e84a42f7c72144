"""Runs cases: each repeat is one task of its own, as in a run, and then judged."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from engine.backends import Backend
from engine.bundle import Bundle
from engine.errors import EngineError
from engine.events import Bus
from engine.run.enforcement import Enforcer
from engine.run.execute import Executor, InOrder, LocalRunner
from engine.run.routing import prepare
from engine.run.stage import Services
from engine.run.task import TaskResult
from engine.run.testing.commands import failed_commands
from engine.run.testing.evidence import Recorder, Watched
from engine.run.testing.judge import Judge
from engine.run.testing.plan import Cell, Group
from engine.run.testing.recordings import Tapes
from engine.run.testing.request import CasesRequest
from engine.run.testing.results import CaseResult, Combination, Evidence, Report, Trial, group_trials
from engine.tools import ScriptRunner


@dataclass(frozen=True, slots=True)
class Settings:
    """How a runner runs.

    Attributes:
        concurrency: Trials at once; None is what the backend is good for, 1 for the embedded model.
        seconds: Upper bound of one trial.
        tapes: Records the replies, or has them.
    """

    concurrency: int | None = None
    seconds: float = 3600.0
    tapes: Tapes | None = None


class Runner:
    """A test run: its plan, its trials as they end, and what they add up to at any time.

    Args:
        request: What is asked.
        bundles: The bundles that are tested.
        groups: The plan.
        settings: How to run.
        notes: What a person should know already.
    """

    def __init__(
        self,
        request: CasesRequest,
        bundles: Sequence[Bundle],
        groups: Sequence[Group],
        settings: Settings,
        notes: Sequence[str] = (),
    ) -> None:
        self._request, self._bundles, self._groups, self._settings = request, bundles, groups, settings
        self._notes = list(notes)
        self._trials: list[Trial] = []
        self._bare: set[int] = set()
        self._stop = False
        self._began = time.monotonic()

    @property
    def total(self) -> int:
        """How many trials are planned."""
        return sum(cell.repeats for group in self._groups for cell in group.cells)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know, so far."""
        return tuple(dict.fromkeys(self._notes))

    async def run(self) -> AsyncGenerator[Trial, None]:
        """Run all trials; each is given when it has ended, in no stated order.

        Raises:
            UnenforcedError: A declared constraint is not in force on the backend.
            BackendError: A backend cannot be reached before the first of its trials.
        """
        self._began = time.monotonic()
        async with ScriptRunner() as scripts:
            for group in self._groups:
                if self._stop:
                    break
                if self._settings.tapes is None or self._settings.tapes.live:
                    await self._check(group)
                async with contextlib.aclosing(self._run_group(group, scripts)) as trials:
                    async for trial in trials:
                        yield trial
                await group.closing.aclose()

    def report(self) -> Report:
        """Return what came of the trials that have ended."""
        results = self._results()
        return Report(
            tuple(results),
            self.notes,
            round(time.monotonic() - self._began, 3),
            complete=len(self._trials) == self.total,
            deterministic=frozenset(one.name for one in self._bundles if one.manifest.model.sampling.temperature == 0),
        )

    def _results(self) -> list[CaseResult]:
        """Return the cases in the order of the bundles and files, each with its combinations in their order."""
        trials = group_trials(self._trials)
        cells = [cell for group in self._groups for cell in group.cells]
        order = list(dict.fromkeys(cell.combination for cell in cells))
        known = [(bundle.name, case.name) for bundle in self._bundles for case in bundle.cases]
        places = {name: at for at, name in enumerate(known)}
        cells.sort(key=lambda cell: (places[cell.name, cell.case.name], order.index(cell.combination)))
        return [_result(cell, trials.get((cell.name, cell.case.name, cell.combination), [])) for cell in cells]

    def _lost(self, trial: Trial) -> bool:
        """Whether this trial decides that its case has not passed."""
        if trial.state == "passed" or trial.combination.baseline is not None:
            return False
        key = (trial.key.bundle, trial.key.case, trial.combination)
        return any(
            result.state in ("failed", "error")
            for result in self._results()
            if (result.bundle, result.case, result.combination) == key
        )

    async def _check(self, group: Group) -> None:
        """See to the models, adapters and constraints of a group, each combination of a bundle once."""
        seen: dict[tuple[str, Combination], list[Cell]] = {}
        for cell in group.cells:
            if cell.task is not None:
                seen.setdefault((cell.bundle.digest, cell.combination), []).append(cell)
        if not seen:
            return
        await group.backend.model_name()
        enforcer = Enforcer(group.backend, allow=self._request.allow_unconstrained)
        for cells in seen.values():
            task = cells[0].task
            assert task is not None  # noqa: S101 - only cells with a task were kept
            self._notes += await prepare(group.backend, [task.assignment])
            findings = await enforcer.check([task.assignment])
            self._notes += findings.notes
            if findings.bare:
                self._bare.update(id(cell) for cell in cells)

    async def _run_group(self, group: Group, scripts: ScriptRunner) -> AsyncGenerator[Trial, None]:
        """Run a group's trials, several at once; whoever stops reading stops them."""
        planned = ((cell, repeat) for cell in group.cells for repeat in range(cell.repeats))
        done: asyncio.Queue[Trial | None] = asyncio.Queue()
        count = self._settings.concurrency or _concurrency(group.backend)
        workers = [
            asyncio.create_task(self._work(group, scripts, planned, done.put_nowait)) for _ in range(max(1, count))
        ]
        everything = asyncio.gather(*workers)
        everything.add_done_callback(lambda _: done.put_nowait(None))
        try:
            while (trial := await done.get()) is not None:
                yield trial
            await everything
        finally:
            everything.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await everything
            await asyncio.gather(*workers, return_exceptions=True)

    async def _work(
        self, group: Group, scripts: ScriptRunner, planned: Iterator[tuple[Cell, int]], put: Callable[[Trial], None]
    ) -> None:
        for cell, repeat in planned:  # one iterator shared by all workers
            if self._stop:
                return
            trial = await self._trial(group, scripts, cell, repeat)
            self._trials.append(trial)
            # Decided here: until whoever reads the trials gets to it, the next would have begun.
            self._stop = self._stop or (self._request.fail_fast and self._lost(trial))
            put(trial)

    async def _trial(self, group: Group, scripts: ScriptRunner, cell: Cell, repeat: int) -> Trial:
        began = time.monotonic()
        key, seed = cell.key(repeat), cell.seed_of(repeat)
        blank = Trial(key, cell.combination, seed, "error", error=cell.problem)
        if cell.task is None:
            return blank
        try:
            tapes = self._settings.tapes
            backend = tapes.wrap(key, group.backend) if tapes is not None else group.backend
            watched = Watched(backend)
            services = Services(cell.project.root, watched.as_backend(), scripts)
            evidence = await self._run_task(cell, seed, services)
            trial = await self._judged(blank, cell, evidence, watched.problem)
            if tapes is not None:
                trial = await tapes.done(backend, trial)
        except (EngineError, OSError) as error:
            trial = replace(blank, error=str(error))
        return replace(trial, seconds=round(time.monotonic() - began, 3))

    async def _run_task(self, cell: Cell, seed: int, services: Services) -> Evidence:
        assert cell.task is not None  # noqa: S101 - asked before
        replayed_bare = self._request.allow_unconstrained and getattr(services.backend, "unconstrained", False)
        bare = id(cell) in self._bare or replayed_bare
        assignment = replace(cell.task.assignment, seed=seed, unconstrained=bare)
        task = replace(cell.task, assignment=assignment)
        recorder = Recorder()
        executor = Executor(LocalRunner(services), Bus(recorder), "", offer=_keep_nothing)
        await executor.run(InOrder([task], 1), self._settings.seconds)
        return recorder.evidence(executor.results[0], assignment.plugin, task.bundle.tool_schemas)

    async def _judged(self, blank: Trial, cell: Cell, evidence: Evidence, problem: Exception | None) -> Trial:
        assert cell.task is not None  # noqa: S101 - asked before
        if problem is not None and evidence.outcome == "failed":
            return replace(blank, error=_words(problem), evidence=evidence)
        judge = Judge(cell.case, cell.task.node, cell.project.files)
        failures = await asyncio.to_thread(judge.failures, evidence)
        if evidence.outcome == cell.case.case.expect.outcome:
            failures += await failed_commands(cell.case, cell.project, evidence.changes)
        return replace(
            blank, state="failed" if failures else "passed", failures=tuple(failures), error=None, evidence=evidence
        )


def _concurrency(backend: Backend) -> int:
    """Return how many trials run at once where nobody says.

    What else llama.cpp computes beside a request changes its last bits, so that the same seed gives other replies: on
    the embedded model, which gains little from it, trials run one by one.
    """
    return 1 if backend.name == "embedded" else backend.concurrency


async def _keep_nothing(result: TaskResult) -> None:
    """Take the offered changes: they are looked at where they are."""


def _words(problem: Exception) -> str:
    return str(problem) if isinstance(problem, EngineError) else f"{type(problem).__name__}: {problem}"


def _result(cell: Cell, trials: Sequence[Trial]) -> CaseResult:
    case = cell.case
    return CaseResult(
        cell.name, case.name, cell.combination, case.case.pass_rate, cell.repeats, case.place("name"), tuple(trials)
    )

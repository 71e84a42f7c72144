"""What a test run is going to do: every case under every combination, planned before any model is asked."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.backends import Backend
from engine.bundle import Bundle
from engine.bundle.cases import BundleCase
from engine.errors import ConfigError, EngineError
from engine.run.plan import Task
from engine.run.testing.commands import not_covered
from engine.run.testing.project import CaseProject, choose_task, lay_out
from engine.run.testing.request import Bench, CasesRequest, Subject
from engine.run.testing.results import CaseKey, Combination

_SEEDS = 2**32


@dataclass(frozen=True, slots=True)
class Cell:
    """A case under one combination.

    Attributes:
        name: The name of the bundle whose case it is.
        bundle: The bundle that runs: the same, or the baseline.
        case: The case.
        project: Its project.
        combination: The settings.
        repeats: How often it runs.
        seed: The seed of the first repeat.
        task: What runs; None when it cannot.
        problem: Why it cannot run.
    """

    name: str
    bundle: Bundle
    case: BundleCase
    project: CaseProject
    combination: Combination
    repeats: int
    seed: int
    task: Task | None = None
    problem: str | None = None

    def key(self, repeat: int) -> CaseKey:
        """Return what names a repeat."""
        return CaseKey(self.name, self.case.name, self.combination.name, repeat)

    def seed_of(self, repeat: int) -> int:
        """Return the seed of a repeat."""
        return (self.seed + repeat) % _SEEDS


@dataclass(slots=True)
class Group:
    """The cells that one backend answers.

    Attributes:
        backend: The backend.
        cells: The cells.
        closing: Closes the backend, when its trials have ended.
    """

    backend: Backend
    cells: list[Cell] = field(default_factory=list)
    closing: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)


def combinations(request: CasesRequest) -> list[Combination]:
    """Return the combinations that are asked for, each model with each adapter, and behind them the baselines."""
    models: Sequence[str | None] = list(dict.fromkeys(request.models)) or [None]
    adapters: Sequence[str | None] = list(dict.fromkeys(request.adapters)) or [None]
    wanted = [Combination(model, adapter) for model in models for adapter in adapters]
    if request.baseline is None:
        return wanted
    if request.baseline == "none":
        if all(one.adapter == "none" for one in wanted):
            raise ConfigError("--baseline none compares with no adapter, and --adapter none runs with none: leave one")
        return [*wanted, *(Combination(model, "none", "none") for model in models)]
    return [*wanted, *(Combination(one.model, one.adapter, request.baseline) for one in wanted)]


class Planner:
    """Plans a test run.

    Args:
        bench: What it needs of the application.
        request: What is asked.
        folder: Where the projects of the cases go.
    """

    def __init__(self, bench: Bench, request: CasesRequest, folder: Path) -> None:
        self._bench, self._request, self._folder = bench, request, folder
        self.notes: list[str] = []

    async def plan(
        self, bundles: Sequence[Bundle], other: Sequence[Bundle], stack: contextlib.AsyncExitStack
    ) -> list[Group]:
        """Return the groups, in the order in which they run.

        Args:
            bundles: The bundles that are tested.
            other: For each of them what runs in a baseline: itself, or another version.
            stack: Closes the backends.

        Raises:
            ConfigError: A case cannot be run as it is written, or nothing is selected.
        """
        groups: dict[str | None, Group] = {}
        problems: list[str] = []
        wanted = combinations(self._request)
        everything = list({id(bundle): bundle for bundle in (*bundles, *other)}.values())
        projects = {id(case): project for case, project in self._projects(bundles, problems)}
        for combination in wanted:
            for bundle, rival in zip(bundles, other, strict=True):
                runs = bundle if combination.baseline is None else rival
                name = self._bench.model(runs, combination.model)
                if name not in groups:
                    same = [one for one in everything if self._bench.model(one, combination.model) == name]
                    groups[name] = self._group(same, combination.model, stack)
                group = groups[name]
                for case in self._selected(bundle):
                    if id(case) in projects:
                        cell = self._cell(bundle, runs, case, projects[id(case)], combination)
                        group.cells.append(await self._with_task(cell, group.backend, problems))
        if problems:
            raise ConfigError("\n".join(dict.fromkeys(problems)))
        if not any(group.cells for group in groups.values()):
            raise ConfigError(self._nothing(bundles))
        return list(groups.values())

    def _group(self, bundles: Sequence[Bundle], model: str | None, stack: contextlib.AsyncExitStack) -> Group:
        backend = self._bench.backend(bundles, model)
        group = Group(backend)
        if self._bench.closes:
            group.closing.push_async_callback(backend.aclose)
        stack.push_async_callback(group.closing.aclose)
        return group

    def _selected(self, bundle: Bundle) -> list[BundleCase]:
        globs = self._request.cases
        return [
            case for case in bundle.cases if not globs or any(fnmatch.fnmatchcase(case.name, glob) for glob in globs)
        ]

    def _projects(self, bundles: Sequence[Bundle], problems: list[str]) -> Iterator[tuple[BundleCase, CaseProject]]:
        for bundle in bundles:
            if bundle.manifest.model.sampling.temperature == 0 and self._repeated(bundle):
                self.notes.append(f"{bundle.name}: the temperature is 0: repeats differ only as far as the server does")
            for case in self._selected(bundle):
                argv = None if self._request.allow_commands else not_covered(bundle, case)
                if argv is not None:
                    problem = f"it runs '{' '.join(argv)}', which the bundle's permissions.run does not cover"
                    problems.append(_problem(case, f"{problem}; --allow-commands runs it"))
                    continue
                root = self._folder / f"{len(list(self._folder.iterdir()))}"
                root.mkdir()
                try:
                    yield case, lay_out(case, root)
                except (ConfigError, OSError) as error:
                    problems.append(_problem(case, str(error)))

    def _repeated(self, bundle: Bundle) -> bool:
        return any((self._request.repeats or case.case.repeats) > 1 for case in self._selected(bundle))

    def _cell(
        self, bundle: Bundle, runs: Bundle, case: BundleCase, project: CaseProject, combination: Combination
    ) -> Cell:
        seed = self._request.seed
        if seed is None:
            seed = bundle.manifest.model.sampling.seed or 0
        repeats = self._request.repeats or case.case.repeats
        return Cell(bundle.name, runs, case, project, combination, repeats, seed)

    async def _with_task(self, cell: Cell, backend: Backend, problems: list[str]) -> Cell:
        case, project, combination = cell.case.case, cell.project, cell.combination
        subject = Subject(
            project.root, project.target, cell.bundle, case.params, combination.model, combination.adapter
        )
        task = problem = None
        try:
            task = choose_task(await self._bench.plan(subject, backend), case.node)
        except EngineError as error:
            problem = str(error)
        if problem is not None and combination.baseline is None:
            problems.append(_problem(cell.case, problem))
        return Cell(
            cell.name,
            cell.bundle,
            cell.case,
            project,
            combination,
            cell.repeats,
            cell.seed,
            task,
            problem,
        )

    def _nothing(self, bundles: Sequence[Bundle]) -> str:
        if not any(bundle.cases for bundle in bundles):
            names = ", ".join(bundle.name for bundle in bundles)
            return f"there are no cases in {names}: write some, and name them in bundle.yaml with 'tests: tests/*.yaml'"
        known = ", ".join(f"'{case.name}'" for bundle in bundles for case in bundle.cases)
        return f"no case matches --case {' '.join(self._request.cases)}; there are: {known}"


def _problem(case: BundleCase, text: str) -> str:
    span = case.place()
    return f"{span.file}:{span.line}: case '{case.name}': {text}"

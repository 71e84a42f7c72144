"""What travels between the driver of a run and the workers of its cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import cast

from engine.backends import Backend
from engine.bundle import Bundle
from engine.bundle.check import check_bundles
from engine.bundle.load import bundle_of, read_source
from engine.bundle.source import BundleSource
from engine.errors import ConfigError
from engine.kernel import Prices
from engine.models import ModelPlugin, get_plugin
from engine.run.plan import Assignment, Task
from engine.run.task import TaskResult

OpenBackend = Callable[[Sequence[Bundle]], Backend]
"""Makes a worker's backend; travels to the workers, so it is a function of a module, or a partial of one."""


@dataclass(frozen=True, slots=True)
class Packed:
    """An assignment without what a worker makes itself.

    Attributes:
        assignment: The assignment, without bundle and plugin.
        digest: The bundle's content.
        plugin: The plugin's name.
    """

    assignment: Assignment
    digest: str
    plugin: str

    def unpack(self, bundle: Bundle) -> Assignment:
        """Return the assignment of a bundle that a worker loaded."""
        return replace(self.assignment, bundle=bundle, plugin=get_plugin(self.plugin))


def pack(assignment: Assignment) -> Packed:
    """Return an assignment as it travels."""
    bare = replace(assignment, bundle=cast("Bundle", None), plugin=cast("ModelPlugin", None))
    return Packed(bare, assignment.bundle.digest, assignment.plugin.name)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to know once; the bundles' files travel beside it.

    Attributes:
        version: The engine's version.
        root: The project's root, which has the same path on every machine.
        folder: The driver's working directory, which relative paths of models start from.
        backend: Makes the worker's backend.
        assignments: The run's assignments.
        prices: What tokens cost.
        shares: Whether the run has a budget, which stays with the driver.
        attempts: How often a task is tried that the server failed.
        concurrency: Requests at once of all workers, at most.
        outage: Seconds that the server may be away before it is given up.
    """

    version: str
    root: Path
    folder: str
    backend: OpenBackend
    assignments: tuple[Packed, ...]
    prices: Prices | None
    shares: bool
    attempts: int
    concurrency: int
    outage: float


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker's first words.

    Attributes:
        host: The machine's name.
        pid: The worker's process.
        problem: Why it cannot run tasks; empty when it can.
    """

    host: str
    pid: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Order:
    """One task for a worker.

    Attributes:
        run_id: Stamped on the events.
        bare: The task, without its assignment.
        assignment: The place of that in the setup's assignments.
        file: SHA-256 of the node's file where the driver runs, hex; None when there is no such file.
    """

    run_id: str
    bare: Task
    assignment: int
    file: str | None

    def task(self, assignments: Sequence[Assignment]) -> Task:
        """Return the task, with the worker's own bundle."""
        return replace(self.bare, assignment=assignments[self.assignment])


def order_of(task: Task, run_id: str, assignment: int, file: str | None) -> Order:
    """Return a task as it travels."""
    return Order(run_id, replace(task, assignment=cast("Assignment", None)), assignment, file)


@dataclass(frozen=True, slots=True)
class OtherFile:
    """A worker's answer to a task whose file it sees with another content, or not at all."""

    host: str
    path: str
    file: str | None

    def __str__(self) -> str:
        what = f"sees no {self.path}" if self.file is None else f"sees another {self.path} than this machine"
        return f"the worker on {self.host} {what}: every machine needs the same files at the same path"


@dataclass(frozen=True, slots=True)
class Stopped:
    """A worker's last word of a task that was cancelled."""


def without_task(result: TaskResult) -> TaskResult:
    """Return a result as it travels: the driver knows the task."""
    return replace(result, task=cast("Task", None))


def engine_version() -> str:
    """Return the engine's version, as it is installed."""
    return version("bundle-engine")


def unpacked(assignments: Sequence[Packed], sources: Sequence[BundleSource]) -> tuple[Assignment, ...]:
    """Return the assignments with bundles made of their files.

    Raises:
        BundleError: A bundle has errors here.
        ConfigError: A bundle is another here, since a file that does not travel differs: large files of adapters.
    """
    bundles = {bundle.digest: bundle for bundle in map(bundle_of, check_bundles(sources))}
    for packed in assignments:
        if packed.digest not in bundles:
            raise ConfigError(
                "the adapters' files of a bundle differ there: every machine needs the same ones at the same path"
            )
    return tuple(packed.unpack(bundles[packed.digest]) for packed in assignments)


def read_sources(bundles: Iterable[Bundle]) -> list[BundleSource]:
    """Read the files of loaded bundles, each once.

    Raises:
        ConfigError: A bundle changed since it was loaded.
    """
    sources = []
    for bundle in {bundle.digest: bundle for bundle in bundles}.values():
        source = read_source(bundle.root)
        if bundle_of(check_bundles([source])[0]).digest != bundle.digest:
            raise ConfigError(f"the bundle {source.shown} changed since the run was planned: start the run again")
        sources.append(source)
    return sources

"""What a run is going to do, and how."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from engine.discovery import Discovery
from engine.run.plan import Assignment, Task, matches

if TYPE_CHECKING:
    from engine.run.cache import CacheUse
    from engine.run.cache.hit import Hit
    from engine.run.executors.ray_runner import RayOptions
    from engine.run.housekeeping import Keep
    from engine.run.resume import Resumed
    from engine.run.schedule import OnFailure


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do.

    Attributes:
        assignments: The bundles with their settings.
        discoveries: What was found.
        tasks: One per bundle and node that it takes.
        cached: What the cache has, by task id; `Session.look` fills it in.
        uncachable: Why the results of a bundle are never kept, by its name.
        resumed: The run that is gone on with; the tasks are then those that are left.
        since: When the files began to be read, in nanoseconds since 1970.
    """

    assignments: tuple[Assignment, ...]
    discoveries: tuple[Discovery, ...]
    tasks: tuple[Task, ...]
    cached: Mapping[str, Hit] = field(default_factory=dict)
    uncachable: Mapping[str, str] = field(default_factory=dict)
    resumed: Resumed | None = None
    since: int = 0

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
        on_failure: What becomes of the others when a task does not finish.
        attempts: How often a task is tried that the server failed.
        outage: Seconds without an answer of the server after which the run stops.
        allow_unconstrained: Run bundles whose declared constraint is not in force, and say so.
        described: The settings in force, for the log.
        request: All that was asked for, as JSON, so that the run can be gone on with.
        ray: How the tasks get onto a cluster; None for a run in this process.
        cache: How results of earlier runs are made use of; None for not at all.
        keep: Which earlier runs are kept when this one starts; None for all.
    """

    concurrency: int
    seconds: float = 3600
    targets: Sequence[str] = ()
    on_failure: OnFailure = "skip_dependents"
    attempts: int = 2
    outage: float = 60.0
    allow_unconstrained: bool = False
    described: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    ray: RayOptions | None = None
    cache: CacheUse | None = None
    keep: Keep | None = None

"""What a report says above its details: sums, causes of failures, the slowest tasks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from engine.report.facts import OUTCOMES, RunFacts, TaskFacts, ToolUse
from engine.report.statistics import Spread, spread
from engine.report.text import short

# What differs from one failure to the next of the same cause.
_PARTICULAR = re.compile(r"'[^']*'|\"[^\"]*\"|[\w.-]+/[\w./-]+|\b[0-9a-f]{8,}\b|\d+(?:\.\d+)?")


@dataclass(slots=True)
class Cause:
    """Tasks that ended for the same reason.

    Attributes:
        outcome: Their outcome.
        reason: The reason's name.
        words: What the first of them said.
        tasks: The tasks.
    """

    outcome: str
    reason: str
    words: str
    tasks: list[TaskFacts] = field(default_factory=list)

    @property
    def bundles(self) -> str:
        """The bundles' names, those with most tasks first."""
        return ", ".join(name for name, _ in Counter(task.bundle for task in self.tasks).most_common(4))


def causes(tasks: Iterable[TaskFacts]) -> list[Cause]:
    """Group the tasks that did not finish by what they say, the largest group first."""
    groups: dict[tuple[str, str, str], Cause] = {}
    for task in tasks:
        if task.outcome not in ("failed", "stopped", "parked", "skipped"):
            continue
        words = task.error or task.reason
        key = (task.outcome, task.reason, _PARTICULAR.sub("…", words[:1000]))
        groups.setdefault(key, Cause(task.outcome, task.reason, short(words, 300))).tasks.append(task)
    return sorted(groups.values(), key=lambda cause: -len(cause.tasks))


@dataclass(frozen=True, slots=True)
class Tally:
    """Tasks of one bundle or file by outcome."""

    name: str
    counts: Counter[str]
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    added: int
    removed: int

    @property
    def total(self) -> int:
        """Number of tasks."""
        return self.counts.total()


def tallies(tasks: Sequence[TaskFacts], by: str) -> list[Tally]:
    """Sum up tasks by `bundle` or `file`, the largest first."""
    groups: dict[str, list[TaskFacts]] = {}
    for task in tasks:
        groups.setdefault(getattr(task, by), []).append(task)
    return sorted((_tally(name, several) for name, several in groups.items()), key=lambda one: -one.total)


def _tally(name: str, tasks: Sequence[TaskFacts]) -> Tally:
    spent = [task for task in tasks if not task.cached]
    return Tally(
        name,
        Counter(task.outcome for task in tasks),
        sum(task.prompt_tokens for task in spent),
        sum(task.completion_tokens for task in spent),
        sum(task.seconds for task in spent),
        sum(task.added for task in tasks),
        sum(task.removed for task in tasks),
    )


@dataclass(frozen=True, slots=True)
class Saving:
    """What the cache saved."""

    tasks: int
    tokens: int


def saving(tasks: Iterable[TaskFacts]) -> Saving:
    """Sum up the tasks whose results came from the cache."""
    cached = [task for task in tasks if task.cached]
    return Saving(len(cached), sum(task.prompt_tokens + task.completion_tokens for task in cached))


def latencies(run: RunFacts, group: str) -> list[Spread]:
    """Return how long replies took, for the names of a group: `all`, `turn`, `bundle` or `answered by`."""
    found = [
        spread(name, values) for (kind, name), values in run.samples.milliseconds.items() if kind == group and values
    ]
    return sorted(found, key=lambda one: one.name) if group == "turn" else sorted(found, key=lambda one: -one.count)


def tool_spreads(tools: dict[str, ToolUse]) -> list[tuple[str, ToolUse, Spread | None]]:
    """Return the tools with how long their calls took, the most used first."""
    ranked = sorted(tools.items(), key=lambda item: -item[1].calls)
    return [(name, use, spread(name, use.milliseconds) if use.milliseconds else None) for name, use in ranked]


def slowest(tasks: Iterable[TaskFacts], wanted: int = 10) -> list[TaskFacts]:
    """Return the tasks that took longest."""
    ran = [task for task in tasks if task.seconds and not task.cached]
    return sorted(ran, key=lambda task: -task.seconds)[:wanted]


def shown_outcomes(run: RunFacts) -> list[tuple[str, int]]:
    """Return the outcomes that there are, with their numbers; finished tasks from the cache apart."""
    counts = run.outcomes
    cached = sum(task.cached and task.outcome == "finished" for task in run.tasks)
    counts["finished"] -= cached
    counts["cached"] = cached
    order = ("finished", "cached", *OUTCOMES[1:])
    return [(outcome, counts[outcome]) for outcome in order if counts[outcome]]

"""What came of the cases of bundles: trials, and what they add up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from engine.diagnostics import Span
from engine.messages import Usage
from engine.run.testing.matching import Call
from engine.run.testing.statistics import Interval, enough, rate, wilson
from engine.workspace import Change

State = Literal["passed", "failed", "error"]


@dataclass(frozen=True, slots=True)
class Combination:
    """Under which settings cases run.

    Attributes:
        model: The model that was asked for; None is what the bundle, engine.yaml or the backend say.
        adapter: The adapter that was asked for, `none` for no adapter; None is what the bundle says.
        baseline: What the bundle is compared with, if this is the baseline: `none` (no adapter) or another bundle.
    """

    model: str | None = None
    adapter: str | None = None
    baseline: str | None = None

    @property
    def name(self) -> str:
        """What tells it from the others, in words; `default` when nothing was asked for."""
        parts = [f"model {self.model}"] if self.model else []
        if self.baseline == "none":
            parts.append("no adapter")
        elif self.adapter:
            parts.append("no adapter" if self.adapter == "none" else f"adapter {self.adapter}")
        label = ", ".join(parts) or "default"
        if self.baseline is None:
            return label
        return f"baseline {label}" if self.baseline == "none" else f"baseline {self.baseline}, {label}"


@dataclass(frozen=True, slots=True)
class CaseKey:
    """Which trial it is: stable over runs, so that recordings can be found by it.

    Attributes:
        bundle: The bundle's name.
        case: The case's name.
        combination: The name of the combination.
        repeat: 0 for the first.
    """

    bundle: str
    case: str
    combination: str
    repeat: int


@dataclass(frozen=True, slots=True)
class Failure:
    """One expectation that was not met.

    Attributes:
        what: Which one, as a path below `expect`, such as `calls[0]`.
        message: Expected and actual, in one line.
        span: Where the expectation stands.
        detail: More lines, such as a diff; empty for none.
    """

    what: str
    message: str
    span: Span
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a trial left behind.

    Attributes:
        outcome: finished, failed or stopped.
        reason: Why the task ended.
        error: What went wrong, one line.
        calls: All tool calls, in order.
        text: The plain text of the last reply.
        reply: The last reply as it came.
        changes: What the task offers.
        turns: Number of turns.
        usage: Tokens of all turns.
        adapter: The adapter that answered last.
        model: The model that answered last.
    """

    outcome: str
    reason: str = ""
    error: str | None = None
    calls: tuple[Call, ...] = ()
    text: str = ""
    reply: str = ""
    changes: tuple[Change, ...] = ()
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    adapter: str | None = None
    model: str = ""

    @property
    def diff(self) -> str:
        """All changes as one diff."""
        return "".join(change.diff() for change in self.changes)

    @property
    def diff_lines(self) -> int:
        """Added and removed lines of all changes."""
        return sum(change.added + change.removed for change in self.changes)


@dataclass(frozen=True, slots=True)
class Trial:
    """One repeat of a case under one combination.

    Attributes:
        key: Which.
        combination: Under which settings.
        seed: The seed that it ran with.
        state: passed, failed (an expectation was not met) or error (it could not be judged).
        failures: The expectations that were not met.
        error: Why it could not be judged; None when it could.
        seconds: Time on the clock.
        evidence: What it left behind; None when nothing ran.
    """

    key: CaseKey
    combination: Combination
    seed: int
    state: State
    failures: tuple[Failure, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """A case under one combination: all of its repeats.

    Attributes:
        bundle: The bundle's name.
        case: The case's name.
        combination: The settings.
        wanted: The share of the repeats that must pass.
        planned: The number of repeats.
        span: Where the case stands.
        trials: Those that ran, in the order of the repeats.
    """

    bundle: str
    case: str
    combination: Combination
    wanted: float
    planned: int
    span: Span
    trials: tuple[Trial, ...] = ()

    @property
    def passed(self) -> int:
        """How many repeats passed."""
        return sum(trial.state == "passed" for trial in self.trials)

    @property
    def rate(self) -> float:
        """The share that passed, of those that ran."""
        return rate(self.passed, len(self.trials))

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the share."""
        return wilson(self.passed, len(self.trials))

    @property
    def state(self) -> Literal["passed", "failed", "error", "not run"]:
        """An error when a repeat could not be judged, not run when too few ran to decide."""
        if any(trial.state == "error" for trial in self.trials):
            return "error"
        if enough(self.passed, self.planned, self.wanted):
            return "passed"
        left = self.planned - len(self.trials)
        return "not run" if enough(self.passed + left, self.planned, self.wanted) else "failed"

    @property
    def seconds(self) -> float:
        """Time of all repeats."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def usage(self) -> Usage:
        """Tokens of all repeats."""
        return sum((trial.evidence.usage for trial in self.trials if trial.evidence), Usage())


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a test run.

    Attributes:
        cases: Every case under every combination, baselines included, in the order of the files.
        notes: What a person should know.
        seconds: Time on the clock.
        complete: Whether everything ran that was planned.
        deterministic: Names of the bundles whose temperature is 0, so that a difference is no chance.
    """

    cases: tuple[CaseResult, ...]
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    complete: bool = True
    deterministic: frozenset[str] = frozenset()

    @property
    def judged(self) -> list[CaseResult]:
        """The cases that decide about success: all but those of baselines."""
        return [case for case in self.cases if case.combination.baseline is None]

    def count(self, state: str) -> int:
        """Return how many of them are in a state."""
        return sum(case.state == state for case in self.judged)

    @property
    def combinations(self) -> list[Combination]:
        """The combinations, in order."""
        return list(dict.fromkeys(case.combination for case in self.cases))

    @property
    def bundles(self) -> list[str]:
        """The names of the bundles, in order."""
        return list(dict.fromkeys(case.bundle for case in self.cases))


def group_trials(trials: Sequence[Trial]) -> Mapping[tuple[str, str, Combination], list[Trial]]:
    """Return trials by bundle, case and combination, each group in the order of its repeats."""
    groups: dict[tuple[str, str, Combination], list[Trial]] = {}
    for trial in sorted(trials, key=lambda one: one.key.repeat):
        groups.setdefault((trial.key.bundle, trial.key.case, trial.combination), []).append(trial)
    return groups

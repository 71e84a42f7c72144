"""How cases fare against their baseline: pure functions of a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.run.testing.results import CaseResult, Combination, Report
from engine.run.testing.statistics import Interval, newcombe, rate


@dataclass(frozen=True, slots=True)
class Comparison:
    """Trials beside those of their baseline.

    Attributes:
        case: The case as `bundle: case`; None for all cases of the combination together.
        combination: The combination that is compared.
        baseline: What it is compared with.
        passed: How many trials passed, of how many.
        before: Likewise in the baseline.
        certain: Whether a difference cannot be chance: the temperature is 0.
    """

    case: str | None
    combination: Combination
    baseline: Combination
    passed: tuple[int, int]
    before: tuple[int, int]
    certain: bool = False

    @property
    def difference(self) -> float:
        """The pass rate less that of the baseline."""
        return rate(*self.passed) - rate(*self.before)

    @property
    def interval(self) -> Interval:
        """The 95 % interval of the difference."""
        return newcombe(self.passed, self.before)

    @property
    def worse(self) -> bool:
        """Whether fewer passed than in the baseline."""
        return self.difference < 0

    @property
    def regressed(self) -> bool:
        """Whether fewer passed, and that is hardly chance: its interval is below 0, or the temperature is 0."""
        return self.worse and (self.certain or self.interval.high < 0)


def baseline_of(combination: Combination, known: Sequence[Combination]) -> Combination | None:
    """Return the baseline that a combination is compared with, if there is one."""
    if combination.baseline is not None:
        return None
    for one in known:
        if one.baseline is None or one.model != combination.model:
            continue
        if one.baseline == "none" and combination.adapter != "none":
            return one
        if one.baseline != "none" and one.adapter == combination.adapter:
            return one
    return None


def compare(report: Report) -> list[Comparison]:
    """Return how each combination fares: first all of its cases together, then case by case.

    Only cases whose repeats all ran and could be judged, on both sides, are compared.
    """
    found: list[Comparison] = []
    by_place = {(case.bundle, case.case, case.combination): case for case in report.cases}
    for combination in report.combinations:
        baseline = baseline_of(combination, report.combinations)
        if baseline is None:
            continue
        pairs = [
            (case, by_place[case.bundle, case.case, baseline])
            for case in report.cases
            if case.combination == combination and _comparable(case, by_place[case.bundle, case.case, baseline])
        ]
        rows = [_pair(case, other, certain=case.bundle in report.deterministic) for case, other in pairs]
        if rows:
            found += [_all(rows, combination, baseline), *rows]
    return found


def _comparable(*cases: CaseResult) -> bool:
    return all(len(case.trials) == case.planned and case.state in ("passed", "failed") for case in cases)


def _pair(case: CaseResult, other: CaseResult, *, certain: bool) -> Comparison:
    return Comparison(
        f"{case.bundle}: {case.case}",
        case.combination,
        other.combination,
        (case.passed, len(case.trials)),
        (other.passed, len(other.trials)),
        certain,
    )


def _all(rows: Sequence[Comparison], combination: Combination, baseline: Combination) -> Comparison:
    passed = (sum(row.passed[0] for row in rows), sum(row.passed[1] for row in rows))
    before = (sum(row.before[0] for row in rows), sum(row.before[1] for row in rows))
    return Comparison(None, combination, baseline, passed, before, all(row.certain for row in rows))

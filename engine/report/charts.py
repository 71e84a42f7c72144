"""Where the marks of a report's plots lie; the templates draw them.

All plots are `WIDTH` units wide and scale with the page.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

from engine.report.facts import OUTCOMES, RunFacts, TaskFacts
from engine.report.statistics import Bin, Spread, nice_ticks
from engine.report.text import amount, duration, short

WIDTH = 1000
_LANES, _BARS = 96, 3000
_BINS = 120
_ENDED = OUTCOMES[:5]


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis."""

    place: float
    label: str


class Axis:
    """The time of a run as a place, without the pauses between its parts."""

    def __init__(self, parts: Sequence[tuple[float, float]]) -> None:
        self._parts = list(parts) or [(0.0, 0.0)]
        self.seconds = max(sum(end - start for start, end in self._parts), 1e-3)

    def at(self, time: float) -> float:
        """Return the place of a point in time, from 0 to WIDTH."""
        passed = 0.0
        for start, end in self._parts:
            passed += min(max(time - start, 0.0), end - start)
        return passed / self.seconds * WIDTH

    @property
    def ticks(self) -> list[Tick]:
        """Round times."""
        marks = (mark for mark in nice_ticks(self.seconds, 6) if mark <= self.seconds * 1.0001)
        return [Tick(mark / self.seconds * WIDTH, duration(mark)) for mark in marks]

    @property
    def breaks(self) -> list[float]:
        """Where the run was gone on with."""
        return [self.at(start) for start, _ in self._parts[1:]]


@dataclass(frozen=True, slots=True)
class Bar:
    """A task's time in a lane."""

    x: float
    width: float
    lane: int
    kind: str
    number: int
    title: str


@dataclass(frozen=True, slots=True)
class Lanes:
    """Tasks over time, each in a lane that is free."""

    bars: tuple[Bar, ...]
    lanes: int


def lanes(run: RunFacts, axis: Axis) -> Lanes | None:
    """Lay out the tasks; None where there are too many to tell them apart."""
    spans = [(start, end or run.ended, task) for task in run.tasks for start, end in task.spans]
    spans.sort(key=lambda span: span[:2])
    if not spans or len(spans) > _BARS:
        return None
    free: list[int] = []
    busy: list[tuple[float, int]] = []
    bars, used = [], 0
    for start, end, task in spans:
        while busy and busy[0][0] <= start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else used
        used = max(used, lane + 1)
        if used > _LANES:
            return None
        heapq.heappush(busy, (end, lane))
        bars.append(_bar(axis, start, end, lane, task))
    return Lanes(tuple(bars), used)


def _bar(axis: Axis, start: float, end: float, lane: int, task: TaskFacts) -> Bar:
    left, right = axis.at(start), axis.at(end)
    title = f"{short(task.node, 80)} — {task.kind}, {duration(end - start)}, {short(task.bundle, 40)}"
    return Bar(round(left, 2), round(max(right - left, 0.6), 2), lane, task.kind, task.number, title)


@dataclass(frozen=True, slots=True)
class Column:
    """One kind's part of a stacked column."""

    x: float
    width: float
    y: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True, slots=True)
class Plot:
    """Marks over time.

    Attributes:
        columns: Columns.
        line: Points of a line, for `points`; empty for none.
        limit: Points of a second line.
        ticks: Marks of the upright axis.
        highest: What the upper edge stands for.
    """

    columns: tuple[Column, ...]
    line: str
    limit: str
    ticks: tuple[Tick, ...]
    highest: float


def endings(run: RunFacts, axis: Axis, height: float) -> Plot | None:
    """Lay out how many tasks ended when, by outcome."""
    counts = [dict.fromkeys((*_ENDED, "cached"), 0) for _ in range(_BINS)]
    for task in run.tasks:
        if task.spans and task.spans[-1][1] and task.outcome in _ENDED:
            counts[_bin(axis.at(task.spans[-1][1]))][task.kind] += 1
    highest = max(sum(one.values()) for one in counts)
    if not highest:
        return None
    ticks = nice_ticks(highest, 3)
    width = WIDTH / _BINS
    columns = []
    for place, one in enumerate(counts):
        top = height
        when = duration(axis.seconds * place / _BINS)
        for kind in ("finished", "cached", *_ENDED[1:]):
            if one[kind]:
                tall = one[kind] / ticks[-1] * height
                top -= tall
                title = f"{one[kind]} {kind} at {when}"
                columns.append(Column(place * width, width - 1, round(top, 2), round(tall, 2), kind, title))
    return Plot(tuple(columns), "", "", _upright(ticks, height), ticks[-1])


def in_flight(run: RunFacts, axis: Axis, height: float) -> Plot | None:
    """Lay out how many tasks were under way, and how many were allowed."""
    changes: list[tuple[float, int]] = []
    for task in run.tasks:
        for start, end in task.spans:
            changes += [(axis.at(start), 1), (axis.at(end or run.ended), -1)]
    if not changes:
        return None
    levels = _levels(sorted(changes))
    limits = [(axis.at(time), limit) for time, limit, _ in run.pace]
    ticks = nice_ticks(max([*levels, *(limit for _, limit in limits)]), 3)

    def up(value: float) -> float:
        return round(height - value / ticks[-1] * height, 2)

    line = " ".join(f"{round(place * WIDTH / _BINS, 1)},{up(level)}" for place, level in enumerate(levels))
    steps = [f"{round(x, 1)},{up(limit)}" for x, limit in _steps(limits)]
    return Plot(
        (),
        f"0,{height} {line} {WIDTH},{up(levels[-1])} {WIDTH},{height}",
        " ".join(steps),
        _upright(ticks, height),
        ticks[-1],
    )


def _levels(changes: Sequence[tuple[float, int]]) -> list[int]:
    """Return the highest level in each bin."""
    levels, level, at = [0] * _BINS, 0, 0
    for x, step in changes:
        place = _bin(x)
        for between in range(at + 1, place + 1):
            levels[between] = max(levels[between], level)
        level, at = level + step, place
        levels[place] = max(levels[place], level)
    return levels


def _steps(limits: Sequence[tuple[float, int]]) -> list[tuple[float, int]]:
    points: list[tuple[float, int]] = []
    for x, limit in limits:
        if points:
            points.append((x, points[-1][1]))
        points.append((x, limit))
    return [*points, (WIDTH, points[-1][1])] if points else []


def _bin(x: float) -> int:
    return min(max(int(x / WIDTH * _BINS), 0), _BINS - 1)


def _upright(ticks: Sequence[float], height: float) -> tuple[Tick, ...]:
    return tuple(Tick(round(height - tick / ticks[-1] * height, 2), amount(tick)) for tick in ticks)


@dataclass(frozen=True, slots=True)
class Range:
    """A spread as marks on a scale of ratios."""

    spread: Spread
    p10: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Ranges:
    """Several spreads on one scale."""

    rows: tuple[Range, ...]
    ticks: tuple[Tick, ...]


def ranges(spreads: Sequence[Spread]) -> Ranges:
    """Lay out spreads of milliseconds on one scale of ratios."""
    low = max(min((one.p10 for one in spreads), default=1.0), 0.01)
    high = max(max((one.p99 for one in spreads), default=1.0), low * 1.01)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high) + 1e-9)

    def at(value: float) -> float:
        return round(min(max((math.log10(max(value, 10.0**first)) - first) / (last - first), 0.0), 1.0) * WIDTH, 1)

    rows = tuple(Range(one, at(one.p10), at(one.p50), at(one.p90), at(one.p99)) for one in spreads)
    ticks = tuple(Tick(at(10.0**power), duration(10.0**power / 1000)) for power in range(first, last + 1))
    return Ranges(rows, ticks)


def bars(bins: Sequence[Bin], height: float, unit: str) -> Plot | None:
    """Lay out a histogram.

    Args:
        bins: Its bins.
        height: The plot's height.
        unit: What the values are: `ms` for a time, else a word.
    """
    if not bins:
        return None
    ticks = nice_ticks(max(one.count for one in bins), 3)
    width = WIDTH / len(bins)

    def said(value: float) -> str:
        return duration(value / 1000) if unit == "ms" else f"{amount(value)} {unit}"

    columns = tuple(
        Column(
            round(place * width, 2),
            round(width - 1.5, 2),
            round(height - one.count / ticks[-1] * height, 2),
            round(one.count / ticks[-1] * height, 2),
            "plain",
            f"{one.count}: {said(one.low)} to {said(one.high)}",
        )
        for place, one in enumerate(bins)
        if one.count
    )
    return Plot(columns, "", "", _upright(ticks, height), ticks[-1])


def edges(bins: Sequence[Bin], unit: str, wanted: int = 5) -> list[Tick]:
    """Return the marks below a histogram."""
    if not bins:
        return []
    values = [one.low for one in bins] + [bins[-1].high]
    step = max(1, (len(values) - 1) // wanted)
    chosen = range(0, len(values), step)
    said = [(place, values[place]) for place in chosen]
    return [
        Tick(place / (len(values) - 1) * WIDTH, duration(value / 1000) if unit == "ms" else amount(value))
        for place, value in said
    ]

"""What all benchmarks share: samples, turns, rows and aims."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Literal

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Scale:
    """How much is measured; `quick` is the smallest size at which every row can still be filled."""

    quick: bool = False

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full


@dataclass(frozen=True)
class Sample:
    """One measurement.

    Attributes:
        wall: Seconds on the clock.
        cpu: CPU seconds of the process and its children.
        amount: Units of work done (runs, bytes, tokens).
        extra: Further figures by name.
    """

    wall: float
    cpu: float
    amount: float = 1.0
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Aim:
    """What a row should reach.

    Attributes:
        of: `ratio` is ours / other, `ours` the figure itself, `over` the difference ours - other.
        sense: Whether `limit` is the most or the least.
        limit: The limit, in the row's unit where it is no ratio.
    """

    of: Literal["ratio", "ours", "over"]
    sense: Literal["<=", ">="]
    limit: float

    def met(self, ours: float, other: float | None) -> bool:
        if self.of != "ours" and other is None:
            raise ValueError("a ratio needs two figures")
        figure = ours if self.of == "ours" else ours - (other or 0) if self.of == "over" else ours / (other or 0)
        return figure <= self.limit if self.sense == "<=" else figure >= self.limit

    def text(self, unit: str) -> str:
        sign = {"<=": "≤", ">=": "≥"}[self.sense]
        if self.of == "ratio":
            return f"{sign} {self.limit:g} times"
        return f"{sign} {self.limit:g} {unit}" + (" over" if self.of == "over" else "")


@dataclass(frozen=True)
class Row:
    """One line of the table; without `ours` the row was not measured, and `note` says why."""

    benchmark: str
    name: str
    unit: str
    peer: str
    ours: float | None
    other: float | None
    aim: Aim | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.ours / self.other if self.ours is not None and self.other else None

    @property
    def met(self) -> bool | None:
        if self.aim is None or self.ours is None or (self.other is None and self.aim.of != "ours"):
            return None
        return self.aim.met(self.ours, self.other)

    def as_json(self) -> dict[str, object]:
        figures = {"ours": self.ours, "other": self.other, "ratio": self.ratio}
        return {
            "benchmark": self.benchmark,
            "name": self.name,
            "unit": self.unit,
            "peer": self.peer,
            **figures,
            "aim": self.aim.text(self.unit) if self.aim else None,
            "met": self.met,
            "note": self.note,
        }


def in_turns(
    candidates: Mapping[str, Callable[[], Sample]], rounds: int, *, warm_up: bool = True
) -> dict[str, list[Sample]]:
    """Measure all candidates in each round, each round beginning with another one; the warm-up round is thrown away."""
    names = list(candidates)
    samples: dict[str, list[Sample]] = {name: [] for name in names}
    for name in names if warm_up else ():
        candidates[name]()
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            samples[name].append(candidates[name]())
    return samples


def middle(samples: Sequence[Sample], figure: Callable[[Sample], float]) -> float:
    """Return the median of a figure."""
    return median(figure(sample) for sample in samples)


def ms_wall(sample: Sample) -> float:
    """Milliseconds on the clock per unit of work."""
    return sample.wall * 1000 / sample.amount


def ms_cpu(sample: Sample) -> float:
    """Milliseconds of CPU time per unit of work."""
    return sample.cpu * 1000 / sample.amount


def cpu_now() -> float:
    """Return the CPU seconds of this process, of its children that have ended, and of those that still run (Linux)."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + cpu_of_children()


def cpu_of_children() -> float:
    """Return the CPU seconds of the direct children that still run."""
    return sum(_cpu_of(pid) for pid in _children())


def _children() -> Iterator[str]:
    for path in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):
            yield from path.read_text().split()


def _cpu_of(pid: str) -> float:
    # schedstat counts nanoseconds, where stat has ticks of 10 ms; it is per thread.
    total = 0
    for path in Path("/proc", pid, "task").glob("*/schedstat"):
        with contextlib.suppress(OSError, IndexError):
            total += int(path.read_text().split()[0])
    return total / 1e9


@contextlib.contextmanager
def stopwatch() -> Iterator[dict[str, float]]:
    """Measure a block: `wall` and `cpu` seconds, filled in at its end."""
    figures: dict[str, float] = {}
    cpu, wall = cpu_now(), time.perf_counter()
    yield figures
    figures["wall"] = time.perf_counter() - wall
    figures["cpu"] = cpu_now() - cpu

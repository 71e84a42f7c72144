"""Numbers that sum up many: percentiles and histograms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """How measurements lie.

    Attributes:
        name: What was measured.
        count: How many there are.
        p10: A tenth of them is not above.
        p50: The median.
        p90: A tenth of them is above.
        p99: A hundredth of them is above.
        highest: The highest.
    """

    name: str
    count: int
    p10: float
    p50: float
    p90: float
    p99: float
    highest: float


def spread(name: str, values: Sequence[float]) -> Spread:
    """Sum up measurements; there must be one at least."""
    ranked = sorted(values)
    p10, p50, p90, p99 = (percentile(ranked, share) for share in (0.1, 0.5, 0.9, 0.99))
    return Spread(name, len(ranked), p10, p50, p90, p99, ranked[-1])


def percentile(ranked: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted values that at least this share of them is not above (nearest rank)."""
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


@dataclass(frozen=True, slots=True)
class Bin:
    """How many measurements lie from `low` up to, not including, `high`."""

    low: float
    high: float
    count: int


def histogram(values: Sequence[float], bins: int = 30) -> list[Bin]:
    """Count measurements in bins; they are of one ratio where the values differ much, else of one width.

    Args:
        values: The measurements, none below 0.
        bins: Number of bins.
    """
    if not values:
        return []
    low, high = min(values), max(values)
    if low == high:
        return [Bin(low, high, len(values))]
    # What is a millionth of the highest counts as that: no plot could show more.
    least = max(min((value for value in values if value > 0), default=high), high / 1e6)
    ratio = high / least >= 20
    edges = _ratios(least, high, bins) if ratio else [low + (high - low) * place / bins for place in range(bins + 1)]
    counts = [0] * bins
    for value in values:
        if ratio:
            place = int(math.log(max(value, least) / least) / math.log(high / least) * bins)
        else:
            place = int((value - low) / (high - low) * bins)
        counts[min(max(place, 0), bins - 1)] += 1
    return [Bin(edges[place], edges[place + 1], counts[place]) for place in range(bins)]


def _ratios(low: float, high: float, bins: int) -> list[float]:
    return [low * (high / low) ** (place / bins) for place in range(bins + 1)]


def nice_ticks(high: float, wanted: int = 4) -> list[float]:
    """Return round numbers from 0 to at least `high`: about as many steps as are wanted."""
    if high <= 0:
        return [0.0, 1.0]
    step = 10 ** math.floor(math.log10(high / wanted))
    step = next(step * factor for factor in (1, 2, 5, 10) if high / (step * factor) <= wanted)
    return [step * place for place in range(math.ceil(high / step - 1e-9) + 1)]

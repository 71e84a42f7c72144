"""Pass rates and how sure one can be of them: pure functions of counts."""

from __future__ import annotations

import math
from dataclasses import dataclass

# The standard normal distribution has 95 % of its mass within this many standard deviations.
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a share (0 to 1) or of a difference of two shares (-1 to 1)."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside."""
        return self.low > 0 or self.high < 0


def rate(passed: int, total: int) -> float:
    """Return the share that passed; 0 of nothing is 0."""
    return passed / total if total else 0.0


def enough(passed: int, total: int, wanted: float) -> bool:
    """Whether at least the wanted share passed."""
    return total > 0 and passed >= needed(total, wanted)


def needed(total: int, wanted: float) -> int:
    """Return the least number of `total` that is the wanted share of it."""
    # 0.7 * 10 is a little more than 7 in binary.
    return math.ceil(wanted * total - 1e-9)


def wilson(passed: int, total: int, z: float = Z95) -> Interval:
    """Return the Wilson score interval of a share.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the
    American Statistical Association 22 (1927). It stays within 0 and 1 and says something sensible of 0 or all of n.

    Args:
        passed: How many passed.
        total: Of how many; of 0 nothing is known, which is the interval from 0 to 1.
        z: Standard deviations; the default gives 95 %.
    """
    if not total:
        return Interval(0.0, 1.0)
    share, spread = passed / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    low = 0.0 if passed == 0 else max(0.0, middle - half)
    high = 1.0 if passed == total else min(1.0, middle + half)
    return Interval(low, high)


def newcombe(first: tuple[int, int], second: tuple[int, int], z: float = Z95) -> Interval:
    """Return an interval of the difference of two independent shares, first minus second.

    Source: R. G. Newcombe, "Interval estimation for the difference between independent proportions: comparison of
    eleven methods", Statistics in Medicine 17 (1998), method 10: two Wilson intervals joined.

    Args:
        first: How many passed, of how many.
        second: Likewise.
        z: Standard deviations; the default gives 95 %.
    """
    one, two = rate(*first), rate(*second)
    a, b = wilson(*first, z), wilson(*second, z)
    difference = one - two
    below = math.hypot(one - a.low, b.high - two)
    above = math.hypot(a.high - one, two - b.low)
    return Interval(max(-1.0, difference - below), min(1.0, difference + above))

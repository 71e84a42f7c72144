"""How fast something goes on of late: sums of a sliding window, in constant space."""

from __future__ import annotations

from collections import deque

SECONDS = 300.0
"""What is older tells nothing of the pace of now …"""

FEWEST = 8
"""… unless there is hardly anything newer: long tasks end seldom."""

_MOST = 240


class Window:
    """Amounts by the time that they came at, in seconds; times never go back.

    Amounts of the same second are kept as one, and of all the newest only.

    Args:
        start: When the counting begins.
    """

    def __init__(self, start: float) -> None:
        self._start = start
        self._items: deque[tuple[float, float, int]] = deque()  # time, amount, how many came

    def add(self, time: float, amount: float = 1.0) -> None:
        """Count an amount."""
        if self._items and time - self._items[-1][0] < 1.0 and len(self._items) > FEWEST:
            first, before, count = self._items[-1]
            self._items[-1] = (first, before + amount, count + 1)
        else:
            self._items.append((time, amount, 1))
        self._forget(time)

    def rate(self, now: float) -> float | None:
        """Return the amount per second of late; None when nothing came yet."""
        self._forget(now)
        if not self._items:
            return None
        elapsed = max(now, self._items[-1][0]) - self._start
        return sum(amount for _, amount, _ in self._items) / elapsed if elapsed > 0 else None

    def count(self) -> int:
        """Return how many amounts the rate rests on."""
        return sum(count for *_, count in self._items)

    def _forget(self, now: float) -> None:
        while len(self._items) > FEWEST and (now - self._items[0][0] > SECONDS or len(self._items) > _MOST):
            self._start = self._items.popleft()[0]

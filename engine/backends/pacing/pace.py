"""The limit of requests at once: up while all goes well, down when the server shows that it has too many.

Sources: V. Jacobson, Congestion Avoidance and Control, 1988 (slow start; additive increase, multiplicative decrease);
the gradient of latencies as in L. Brakmo, L. Peterson, TCP Vegas, 1995.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

# Below this many seconds a request, nobody waits for anything: latency says nothing then.
_SHORT = 2.0
_WORSE = 2.0
_SAMPLES = 30
_NEWEST, _USUAL = 0.2, 0.02


@dataclass(slots=True)
class _Average:
    """A moving average; `weight` is the share of the newest value."""

    weight: float
    value: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.count += 1
        self.value += (value - self.value) * max(self.weight, 1 / self.count)


class Pace:
    """How many requests at once a server is good for, judged by what became of earlier ones.

    Args:
        most: The limit that is never passed.
        start: Where it begins.
        clock: Seconds that only go forward.
    """

    def __init__(self, most: int, start: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = max(1, most)
        self._limit = float(max(1, min(self._most, start)))
        self._clock = clock
        # At first the limit doubles with each round of requests; after the first sign of trouble it goes up by one.
        self._searching, self._full = True, False
        self._cut_at = float("-inf")
        self._forget()

    @property
    def limit(self) -> int:
        """Requests at once, from now on."""
        return int(self._limit)

    @property
    def most(self) -> int:
        """What the limit never passes."""
        return self._most

    def answered(self, began: float, tokens: int, in_flight: int) -> str:
        """Hear of an answer; return why the limit went down, or nothing.

        Args:
            began: When the request was sent, on the clock.
            tokens: Tokens of the reply.
            in_flight: Requests that were under way with it, itself included.
        """
        seconds = self._clock() - began
        self._newest.add(seconds / max(1, tokens))
        self._usual.add(seconds / max(1, tokens))
        self._length.add(seconds)
        if self._is_slower():
            share = _WORSE * self._usual.value / self._newest.value
            self._cut(max(0.5, share))
            return "answers take twice as long as before"
        if not self._full and in_flight >= 0.8 * self._limit:
            self._raise(1.0 if self._searching else 1 / self._limit)
        return ""

    def pushed_back(self, began: float, in_flight: int) -> bool:
        """Hear that the server had too much to do for a request (429, 503, no answer in time); True lowered the limit.

        Requests that were sent before the limit was lowered lower it no further.

        Args:
            began: When the request was sent, on the clock.
            in_flight: Requests that were under way with it, itself included.
        """
        if began <= self._cut_at or self._limit <= 1:
            return False
        self._limit = min(self._limit, max(2.0, float(in_flight)))
        self._cut(0.5)
        return True

    def restart(self) -> None:
        """Begin anew with few requests, as with a server that has just come back."""
        self._limit = max(1.0, min(self._limit, self._most / 4))
        self._searching, self._cut_at = True, self._clock()
        self._forget()

    def queued(self, running: int, waiting: int, in_flight: int) -> bool:
        """Hear how many requests the server works on and how many wait in it; True lowered the limit.

        A few that wait keep the server busy; of more than that, what is our own is taken back.
        """
        spare = max(2, running // 4)
        self._full = waiting > 0
        if waiting <= spare or in_flight == 0:
            return False
        ours = (waiting - spare) * min(1.0, in_flight / max(1, running + waiting))
        target = max(1.0, in_flight - ours)
        if target >= self._limit:
            return False
        self._limit, self._searching = target, False
        self._forget()
        return True

    def _raise(self, step: float) -> None:
        self._limit = min(float(self._most), self._limit + step)
        if self._limit > 1.25 * self._judged_at:
            self._forget()  # with more at once each takes longer, which is no sign of trouble

    def _cut(self, share: float) -> None:
        self._limit = max(1.0, self._limit * share)
        self._searching, self._cut_at = False, self._clock()
        self._forget()

    def _is_slower(self) -> bool:
        known = self._usual.count >= _SAMPLES and self._length.value >= _SHORT and self._limit > 1
        return known and self._newest.value > _WORSE * self._usual.value

    def _forget(self) -> None:
        """Begin to judge latencies anew, at the limit as it is now."""
        self._judged_at = self._limit
        self._newest, self._usual, self._length = _Average(_NEWEST), _Average(_USUAL), _Average(_NEWEST)

"""Tells a server that is away from requests that fail: all requests rest then, but for one now and again.

Source: M. Nygard, Release It!, 2007, the pattern "circuit breaker".
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "lost"]
_REFUSED = 3
_FAILED, _REQUESTS = 5, 3
_FIRST, _LONGEST = 0.5, 8.0


class Breaker:
    """Closed while the server answers; open while it is away; lost when it was away for too long.

    It opens after 3 requests in a row that did not reach the server, or after 5 that failed otherwise, if they were of
    3 different requests or more: one request that a server cannot answer is no reason to stop the others. A server that
    asks to come back after the outage (`gone`) opens it at once.

    Args:
        outage: Seconds that the server may be away.
        clock: Seconds that only go forward.
    """

    def __init__(self, outage: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._outage, self._clock = outage, clock
        self.state: State = "closed"
        self.reason = ""
        self._unreached = self._failed = self._probes = 0
        self._requests: set[object] = set()
        self._since = self._next = 0.0

    @property
    def away(self) -> float:
        """For how many seconds the server has been away."""
        return self._clock() - self._since if self.state != "closed" else 0.0

    def answered(self) -> bool:
        """Hear of an answer, be it a refusal; True closed the breaker."""
        was, self.state = self.state, "closed" if self.state != "lost" else "lost"
        self._unreached = self._failed = 0
        self._requests.clear()
        return was == "open"

    def failed(self, request: object, kind: str, reason: str) -> bool:
        """Hear that the server failed a request; True opened the breaker, or gave the server up.

        Args:
            request: The request, the same object at each of its attempts.
            kind: As of BackendUnavailable, or gone.
            reason: What happened, for people.
        """
        now = self._clock()
        self.reason = reason
        if self.state == "open":
            return self._still_away(now)
        self._failed += 1
        self._unreached = self._unreached + 1 if kind == "unreachable" else 0
        if len(self._requests) < _REQUESTS:
            self._requests.add(request)
        several = self._failed >= _FAILED and len(self._requests) >= _REQUESTS
        if self.state == "lost" or not (several or self._unreached >= _REFUSED or kind == "gone"):
            return False
        self.state, self._since, self._probes = "open", now, 0
        self._next = now + self._wait()
        return True

    def give_up(self, reason: str) -> None:
        """Take the server for lost, whatever it answers: it was away for no time."""
        self.state, self.reason = "lost", reason

    def _still_away(self, now: float) -> bool:
        if now - self._since >= self._outage:
            self.state = "lost"
            return True
        if now >= self._next:  # that was the probe, not one which was under way before
            self._probes += 1
            self._next = min(now + self._wait(), max(self._since + self._outage, now + _FIRST))
        return False

    def _wait(self) -> float:
        return min(_LONGEST, _FIRST * 2.0 ** min(self._probes, 10)) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret

    def until_probe(self) -> float:
        """Return the seconds until a request may be sent to see whether the server is back; 0 for now."""
        return max(0.0, self._next - self._clock())

"""Lets requests pass, as many at once as the pace says, and none while the server is to have its rest."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from engine.backends.pacing.breaker import Breaker
from engine.backends.pacing.pace import Pace
from engine.errors import BackendUnavailable


class Gate:
    """The queue of requests before the server.

    Args:
        pace: How many may be under way at once.
        breaker: Whether the server is there.
        clock: Seconds that only go forward.
    """

    def __init__(self, pace: Pace, breaker: Breaker, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace, self._breaker, self._clock = pace, breaker, clock
        # Conversations that have begun go first: the server still has their beginning, and they free their memory.
        self._begun, self._new = deque[asyncio.Future[None]](), deque[asyncio.Future[None]]()
        self._rest_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.in_flight = 0

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._begun) + len(self._new)

    @property
    def is_open(self) -> bool:
        """Whether the server answers, and has not asked for a rest."""
        return self._breaker.state == "closed" and self._clock() >= self._rest_until

    def rest(self, seconds: float) -> None:
        """Send nothing for so many seconds."""
        self._rest_until = max(self._rest_until, self._clock() + seconds)

    async def enter(self, *, begun: bool) -> None:
        """Wait for the request's turn; `leave` must follow.

        Args:
            begun: Whether it goes on with a conversation.

        Raises:
            BackendUnavailable: The server is given up.
        """
        queue = self._begun if begun else self._new
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self.admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()
            elif turn in queue:
                queue.remove(turn)
            raise

    def leave(self) -> None:
        """Make room for the next."""
        self.in_flight -= 1
        self.admit()

    def admit(self) -> None:
        """Let pass whoever may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._breaker.state == "lost":
            self._refuse()
        while self.waiting and (wait := self._wait()) is not None:
            if wait > 0:
                self._timer = asyncio.get_running_loop().call_later(wait, self.admit)
                return
            turn = (self._begun or self._new).popleft()
            if not turn.done():
                self.in_flight += 1
                turn.set_result(None)

    def _wait(self) -> float | None:
        """Return the seconds until the next may pass; None while that depends on those under way."""
        if self._breaker.state == "open":
            return None if self.in_flight else self._breaker.until_probe()
        if self.in_flight >= self._pace.limit:
            return None
        return max(0.0, self._rest_until - self._clock())

    def _refuse(self) -> None:
        for queue in (self._begun, self._new):
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    refused = BackendUnavailable(self._breaker.reason)
                    refused.charged = False  # it was never sent
                    turn.set_exception(refused)

    def close(self) -> None:
        """Forget the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""A Backend around another that sends as many requests at once as the server is good for."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import Any, NoReturn, Self

from engine.backends.around import Around
from engine.backends.base import Backend, Completion, CompletionRequest
from engine.backends.pacing.breaker import Breaker
from engine.backends.pacing.clock import clock_stopped
from engine.backends.pacing.gate import Gate
from engine.backends.pacing.pace import Pace
from engine.backends.pacing.refusals import REFUSED, Refusals
from engine.backends.retry import backoff
from engine.errors import BackendError, BackendUnavailable, KeyRefused

_LOG = logging.getLogger("engine.backends")
# Seconds between two looks at the server's own queue, and how often it may fail to answer.
_LOOK, _LOOKS_FAILED = 2.0, 3

Tell = Callable[[int, str], Awaitable[None]]
"""Hears of a new limit of requests at once, 0 for none, and why."""


class PacedBackend(Around):
    """Queues requests for the server, sends them again where it failed in passing, and waits while it is away.

    While a request waits in the queue, the clock of its task stands still. What the server asks one request to wait
    (Retry-After), all of them wait. It is an async context manager, and leaving it leaves the inner backend open.

    Args:
        inner: Where the completions come from; where it can, it leaves trying again to this one.
        most: Requests at once, at most.
        outage: Seconds that the server may be away before it is given up.
        tell: Hears of changes; `on_given_up` is called when the server is given up, with the reason.
        look: Seconds between two looks at the server's own queue, where it shows it.
    """

    def __init__(
        self, inner: Backend, most: int, *, outage: float = 60.0, tell: Tell | None = None, look: float = _LOOK
    ) -> None:
        super().__init__(inner)
        once = getattr(inner, "once", None)
        self._once: Backend = once() if once is not None else inner
        self.retries: int = getattr(inner, "retries", 0) if once is not None else 0
        self._outage, self._tell, self._look = outage, tell, look
        self.pace, self.breaker = Pace(most, min(most, inner.concurrency)), Breaker(outage)
        self.gate = Gate(self.pace, self.breaker)
        self._refusals, self._refused = Refusals(inner), ""
        self._silent = False
        self._told = self.pace.limit
        self._looking: asyncio.Task[None] | None = None
        self.on_given_up: Callable[[str], None] = _nothing

    @property
    def limit(self) -> int:
        """Requests at once, from now on; 0 while the server is away."""
        return self.pace.limit if self.breaker.state == "closed" else 0

    @property
    def given_up(self) -> str:
        """Why the server is given up, in one line; empty while it is not."""
        if self.breaker.state != "lost":
            return ""
        if self._refused:
            return self._refused
        return f"{self.breaker.reason} (it was away for {self._outage:g} s)"

    async def __aenter__(self) -> Self:
        """Begin to look at the server's own queue, where it shows it."""
        if hasattr(self.inner, "load"):
            self._looking = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop looking."""
        self.gate.close()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def ready(self) -> None:
        """Wait until a task may start: while the server is away, the requests that wait already find out about it."""
        while self.breaker.state == "open" and (self.gate.waiting or self.gate.in_flight):  # noqa: ASYNC110 - seldom
            await asyncio.sleep(0.05)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer one request.

        Raises:
            BackendError: As the inner backend does, after all attempts; or the server is given up.
        """
        attempts = _Attempts(self, request)
        while True:
            async with attempts.turn():
                done = await self._once.complete(request)
                await self._answered(attempts, done)
                return done

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer one request piece by piece; it has its place among the requests at once until its end.

        Raises:
            BackendError: As `complete` does; a failure after the first piece is not retried.
        """
        attempts = _Attempts(self, request)
        while True:
            async with attempts.turn(), contextlib.aclosing(self._once.stream(request)) as parts:
                async for part in parts:
                    attempts.said = True
                    if isinstance(part, Completion):
                        await self._answered(attempts, part)
                    yield part
                return

    async def _answered(self, attempts: _Attempts, done: Completion) -> None:
        self._refusals.answered(attempts.request, attempts.began)
        slower = self.pace.answered(attempts.began, done.usage.completion_tokens, self.gate.in_flight)
        await self.alive()
        if slower:
            await self._say(f"{self.url}: {slower}")
        elif self.pace.limit >= min(2 * self._told, self.pace.most) and self.pace.limit > self._told:
            await self._say(f"{self.url} answers well")

    async def alive(self) -> None:
        """Hear of an answer, be it a refusal."""
        self._silent = False
        if self.breaker.answered():
            self.pace.restart()
            await self._say(f"{self.url} is back")

    async def failed(self, request: object, began: float, error: BackendUnavailable) -> None:
        """Hear that the server failed a request.

        Args:
            request: What tells the request from others, also when its task is tried again.
            began: When it was sent.
            error: The failure.
        """
        kind, reason = error.kind, error.words
        asked = error.retry_after or 0.0
        if asked > self._outage:
            kind, reason = "gone", f"{reason}; it asks to come back in {_spelled(asked)}"
        elif asked:
            self.gate.rest(asked)
        elif kind == "timeout" and self.breaker.state == "closed" and not await self._answers():
            self._silent = True
            kind, reason = "gone", f"{reason}; nor does it say what models it has"
        # A server that is asked for too much is there; only where one request at a time is too much, it is not.
        too_much = kind == "overloaded" and self.pace.limit > 1
        if not too_much and self.breaker.failed(request, kind, reason):
            await self._say(self.given_up or reason, limit=0)
            if self.given_up:
                self.on_given_up(self.given_up)
        elif kind in ("overloaded", "timeout") and self.pace.pushed_back(began, self.gate.in_flight):
            await self._say(reason)

    async def look(self) -> BackendUnavailable | None:
        """Return how a server that fell silent is still silent, so that no request need be spent on that; else None."""
        if not self._silent or await self._answers():
            return None
        silent = BackendUnavailable(self.breaker.reason, kind="timeout")
        silent.charged = False
        return silent

    async def _answers(self) -> bool:
        ask: Callable[[], Awaitable[bool]] | None = getattr(self.inner, "answers", None)
        return ask is None or await ask()

    async def refused(self, request: CompletionRequest, error: KeyRefused) -> NoReturn:
        """Hear that the server refused the key; where it would refuse any request, it is given up.

        Args:
            request: The request.
            error: What the server said.

        Raises:
            BackendUnavailable: It is given up.
            KeyRefused: It was only this request.
        """
        since = time.strftime("%H:%M:%S")
        if await self._refusals.mean_the_key(request, time.monotonic()) and not self.given_up:
            self._refused = f"{REFUSED} since {since}: {error}"
            self.breaker.give_up(self._refused)
            self.gate.admit()
            await self._say(self._refused, limit=0)
            self.on_given_up(self._refused)
        if not self.given_up:
            raise error
        gone = BackendUnavailable(self.given_up)
        gone.charged = False
        raise gone from error

    async def _say(self, reason: str, limit: int | None = None) -> None:
        self._told = self.pace.limit
        shown = self.pace.limit if limit is None else limit
        _LOG.info("requests at once: %d (%s)", shown, reason)
        if self._tell is not None:
            await self._tell(shown, reason)

    async def _watch(self) -> None:
        """Look at the server's own queue from time to time."""
        source: Any = self.inner
        failed = 0
        while failed < _LOOKS_FAILED:
            await asyncio.sleep(self._look)
            if not self.gate.in_flight or self.breaker.state != "closed":
                continue
            try:
                load = await source.load()
            except BackendError:
                load = None
            failed = failed + 1 if load is None else 0
            if load is not None and self.pace.queued(load.running, load.waiting, self.gate.in_flight):
                await self._say(f"{self.url} has {load.waiting} requests waiting")
            self.gate.admit()
        self.pace.queued(0, 0, 0)  # what is not known any more holds nothing back


def _nothing(reason: str) -> None:
    """Do nothing."""


class _Attempts:
    """One request on its way to an answer."""

    def __init__(self, paced: PacedBackend, request: CompletionRequest) -> None:
        self._paced, self.request = paced, request
        self._began_all, self._count, self._failed = time.monotonic(), 0, 0
        self._begun = any(message.get("role") == "assistant" for message in request.messages)
        self.began = 0.0
        self.said = False

    @property
    def key(self) -> object:
        """What tells the request from others, also when its task is tried again."""
        return hash(repr(self.request.messages))

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """Wait for the request's turn; a failure that may pass ends in its wait, any other is raised."""
        gate = self._paced.gate
        await self._enter(gate)
        self.began, failure, refusal = time.monotonic(), None, None
        self._count += 1
        try:
            yield
        except KeyRefused as error:
            await self._paced.alive()
            refusal = error
        except BackendUnavailable as error:
            await self._paced.failed(self.key, self.began, error)
            failure = error
        except BackendError:
            await self._paced.alive()
            raise
        finally:
            gate.leave()
        if refusal is not None:
            await self._paced.refused(self.request, refusal)
        if failure is not None:
            await self._again(failure)

    async def _enter(self, gate: Gate) -> None:
        """Wait for the request's turn; where the server fell silent, until it answers a short question."""
        while True:
            with clock_stopped():
                await gate.enter(begun=self._begun)
                try:
                    silent = await self._paced.look()
                    if silent is None:
                        return
                    await self._paced.failed(self.key, time.monotonic(), silent)
                except BaseException:
                    gate.leave()
                    raise
                gate.leave()
            await self._again(silent)

    async def _again(self, failure: BackendUnavailable) -> None:
        """Wait before the next attempt, or raise the failure of the last.

        Where the server is away no attempt is counted: the request waits with all others.
        """
        away = self._paced.breaker.state == "open"
        self._failed += not away
        if self.said or self._paced.given_up or self._failed > self._paced.retries:
            raise self._summed_up(failure) from failure
        if not away and not failure.retry_after:
            await asyncio.sleep(backoff(self._failed))
        if failure.charged and self.request.meter is not None:
            await self.request.meter.again(failure.kind)

    def _summed_up(self, failure: BackendUnavailable) -> BackendUnavailable:
        if self._count == 1:
            return failure
        effort = f"{self._count} attempts in {time.monotonic() - self._began_all:.1f} s"
        summed = BackendUnavailable(f"{failure.words} ({effort})", failure.words, failure.kind, failure.retry_after)
        summed.charged = failure.charged
        return summed


def _spelled(seconds: float) -> str:
    """Return a time for people: in seconds, hours or days."""
    if seconds < 7200:
        return f"{seconds:.0f} s"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{min(seconds, 1e12) / 86_400:.0f} days"

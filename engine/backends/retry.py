"""Retries: exponential backoff with jitter, the server's Retry-After, and one bound over all attempts."""

from __future__ import annotations

import asyncio
import email.utils
import logging
import math
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")
_LOG = logging.getLogger("engine.backends")
FIRST_DELAY = 0.5
LONGEST_DELAY = 20.0
_SECONDS = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on.

    Attributes:
        retries: Further attempts after the first.
        timeout: Seconds that one attempt may take.
        total: Seconds for all attempts and the waits between them; no attempt outlives it.
    """

    retries: int = 3
    timeout: float = 300.0
    total: float = 600.0


class GaveUpError(Exception):
    """All attempts failed; the cause is the last failure."""

    def __init__(self, attempts: int, seconds: float) -> None:
        super().__init__(f"{attempts} attempt{'s' * (attempts > 1)} in {seconds:.1f} s")
        self.attempts = attempts
        self.seconds = seconds


async def with_retries(
    attempt: Callable[[], Awaitable[_T]],
    patience: Patience,
    passing: Callable[[Exception], bool],
    label: str,
    again: Callable[[Exception], Awaitable[None]] | None = None,
) -> _T:
    """Run `attempt` until it succeeds, fails for good or patience ends.

    Args:
        attempt: One try.
        patience: The bounds.
        passing: Says whether a failure may pass by itself; other failures are raised at once.
        label: What is tried, for the log.
        again: Awaited before each further attempt with the failure of the last; what it raises ends the attempts.

    Raises:
        GaveUpError: After the last attempt, from its failure.
    """
    started = time.monotonic()
    for number in range(1, patience.retries + 2):
        left = patience.total - (time.monotonic() - started)
        try:
            async with asyncio.timeout(max(0.001, min(patience.timeout, left))):
                return await attempt()
        except Exception as error:
            failure = error
            if not passing(error):
                raise
            elapsed = time.monotonic() - started
            wait = _delay(error, number)
            if number > patience.retries or elapsed + wait >= patience.total:
                raise GaveUpError(number, elapsed) from error
            _LOG.info("%s failed (%s); attempt %d follows in %.1f s", label, type(error).__name__, number + 1, wait)
        await asyncio.sleep(wait)
        if again is not None:
            await again(failure)
    raise AssertionError("the last attempt either returns or raises")


def backoff(number: int) -> float:
    """Return how many seconds to wait after the given number of failures: exponential, with jitter."""
    return min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** (min(number, 30) - 1)) * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not a secret


def _delay(error: Exception, number: int) -> float:
    asked = asked_to_wait(error)
    return backoff(number) if asked is None else asked


def asked_to_wait(error: BaseException) -> float | None:
    """Return how many seconds the answer that an error was made of asks to wait, never less than 0."""
    asked = retry_after(getattr(getattr(error, "response", None), "headers", None) or {})
    return None if asked is None else max(asked, 0.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `retry-after-ms` or `Retry-After` (seconds or a date, RFC 9110) asks to wait.

    A date is compared with the answer's own `Date`, so that clocks which differ do no harm.
    """
    try:
        if "retry-after-ms" in headers:
            seconds = float(headers["retry-after-ms"]) / 1000
        elif (text := headers.get("retry-after")) is None:
            return None
        elif _SECONDS.fullmatch(text.strip()):
            seconds = float(text)
        else:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - _now(headers)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if math.isnan(seconds) else seconds


def _now(headers: Mapping[str, str]) -> float:
    """Return the server's time, as far as it says, in seconds since 1970 UTC."""
    try:
        return email.utils.parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, TypeError, OverflowError):
        return time.time()

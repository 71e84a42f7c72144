"""The clock of a task, which stands still while its request waits for its turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_CLOCK: ContextVar[asyncio.Timeout | None] = ContextVar("engine_task_clock", default=None)


def name_clock(clock: asyncio.Timeout) -> asyncio.Timeout:
    """Name the clock of what this asyncio task does from now on, and return it; a later one takes its place.

    It is to be entered before the task waits anywhere.
    """
    _CLOCK.set(clock)
    return clock


@contextlib.contextmanager
def clock_stopped() -> Iterator[None]:
    """Stop the task's clock, if there is one; what was left of its time is left afterwards."""
    clock = _CLOCK.get()
    end = clock.when() if clock is not None and not clock.expired() else None
    if clock is None or end is None:
        yield
        return
    loop = asyncio.get_running_loop()
    began = loop.time()
    clock.reschedule(None)
    try:
        yield
    finally:
        clock.reschedule(end + loop.time() - began)

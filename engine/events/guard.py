"""Ending what must not go on unlogged."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self

from engine.events.writer import Writer


class Guard:
    """Cancels the body of an `async with` as soon as the event log has a problem, and raises that in its place.

    A body that was cancelled from elsewhere, too, or that raises something itself ends with that.

    Args:
        writer: The log's writer.

    Raises:
        LogError: There is a problem, at the start or while the body runs.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._task: asyncio.Task[object] | None = None
        self._before = 0
        self._cancelled = False

    async def __aenter__(self) -> Self:
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        assert self._task is not None  # noqa: S101 - a coroutine runs in a task
        self._before = self._task.cancelling()
        self._writer.heard.append(self._hear)
        if self._writer.problem is not None:
            self._writer.heard.remove(self._hear)
            raise self._writer.problem
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._writer.heard.remove(self._hear)
        task, self._task = self._task, None
        left = 0
        if self._cancelled and task is not None:
            if kind is None:  # the body ended before the cancellation reached it
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
            left = task.uncancel() - self._before
        ours = kind is None or (self._cancelled and left <= 0 and kind is asyncio.CancelledError)
        if ours and self._writer.problem is not None:
            raise self._writer.problem from error

    def _hear(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nothing is left to end
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if self._task is not None and not self._cancelled:
            self._cancelled = self._task.cancel()

"""A task's words on their way from the worker to the driver: in order, as they come, many at once when they hurry."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from engine.events import Event, ModelRequested
from engine.run.executors.budget import Word

# Seconds that events wait for others: what travels costs by the piece.
_LINGER = 0.03


class Channel:
    """An observer that keeps events, and what is said between them, until the stream takes them."""

    def __init__(self) -> None:
        self._waiting: list[Event | Word] = []
        self._some, self._hurry = asyncio.Event(), asyncio.Event()

    async def on_event(self, event: Event) -> None:
        """Keep an event."""
        self.say(event)

    def say(self, word: Event | Word) -> None:
        """Keep a word."""
        self._waiting.append(word)
        self._some.set()
        # A task waits for the answer to a question; and should the worker die now, the driver must know of the request.
        if not isinstance(word, Event) or isinstance(word, ModelRequested):
            self._hurry.set()

    async def until(self, work: asyncio.Task[Any]) -> AsyncIterator[tuple[Event | Word, ...]]:
        """Yield what came since the last time, until `work` is done and nothing is left."""
        work.add_done_callback(self._wake)
        while not (work.done() and not self._waiting):
            await self._some.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LINGER):
                    await self._hurry.wait()
            self._some.clear()
            self._hurry.clear()
            taken, self._waiting = tuple(self._waiting), []
            if taken:
                yield taken

    def _wake(self, _: asyncio.Task[Any]) -> None:
        self._some.set()
        self._hurry.set()

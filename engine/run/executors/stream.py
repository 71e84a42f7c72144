"""A task's words on their way from the worker to the driver: in order, as they come, many at once when they hurry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from engine.events import Event
from engine.run.executors.budget import Word


class Channel:
    """An observer that keeps events, and what is said between them, until the stream takes them."""

    def __init__(self) -> None:
        self._waiting: list[Event | Word] = []
        self._some = asyncio.Event()

    async def on_event(self, event: Event) -> None:
        """Keep an event."""
        self.say(event)

    def say(self, word: Event | Word) -> None:
        """Keep a word."""
        self._waiting.append(word)
        self._some.set()

    async def until(self, work: asyncio.Task[Any]) -> AsyncIterator[tuple[Event | Word, ...]]:
        """Yield what came since the last time, until `work` is done and nothing is left."""
        work.add_done_callback(lambda _: self._some.set())
        while not (work.done() and not self._waiting):
            await self._some.wait()
            self._some.clear()
            taken, self._waiting = tuple(self._waiting), []
            if taken:
                yield taken

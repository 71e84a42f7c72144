"""Following a run that another process writes: its events as they are committed, until it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.events.reader import LogReader
    from engine.events.records import RunRecord

_PAGE = 1000  # events at once, so that a long run is never held in memory
_TICK = 0.02  # seconds between two looks at the file's version, a read of shared memory
_LOOK = 0.5  # seconds between two looks at whether the writing process still lives


class Follower:
    """The events of a run, those that are stored and those to come; iterate it, with `for` or `async for`.

    Nothing but the version of the file is read while nothing is committed. It ends with the run: when that has
    finished, when its process is gone, and when the run is forgotten.

    Args:
        reader: An open event log.
        run_id: The run's full id.
        after: The last number that the caller has.

    Attributes:
        after: The number of the last event that was given out.
        record: The run as it was last seen; None before the first look and when there is no such run.
    """

    def __init__(self, reader: LogReader, run_id: str, after: int = 0) -> None:
        self._reader, self._run_id, self.after = reader, run_id, after
        self.record: RunRecord | None = None
        self._version: int | None = None
        self._looked = 0.0
        self._ended = False

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    @property
    def gone(self) -> bool:
        """Whether it ended since the run's process is gone, without a word."""
        return self._ended and self.record is not None and self.record.ended is None

    def poll(self) -> list[dict[str, Any]]:
        """Return what is new, without waiting; at most 1000 events at once."""
        return self._read() if not self._ended and self._worth_a_look() else []

    def _read(self) -> list[dict[str, Any]]:
        # The state comes first: what a run that has ended wrote is then among the events that are read next.
        version = self._reader.version()
        self.record = self._reader.run(self._run_id)
        batch = self._reader.events(self._run_id, after=self.after, limit=_PAGE)
        if batch:
            self.after = batch[-1]["seq"]
        self._version = None
        if len(batch) < _PAGE:
            self._version = version
            self._ended = self.record is None or self.record.status != "running"
        return batch

    def wait(self, seconds: float) -> list[dict[str, Any]]:
        """Return what is new as soon as there is something; nothing when the run ended or the time is over."""
        until = time.monotonic() + seconds
        while not (batch := self.poll()) and not self._ended and time.monotonic() < until:
            time.sleep(_TICK)
        return batch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while (batch := self.wait(_LOOK)) or not self._ended:
            yield from batch

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while not self._ended:
            batch = await asyncio.to_thread(self._read) if self._worth_a_look() else []
            for event in batch:
                yield event
            if not batch and not self._ended:
                await asyncio.sleep(_TICK)

    def _worth_a_look(self) -> bool:
        now = time.monotonic()
        if self._version is None or self._version != self._reader.version() or now - self._looked >= _LOOK:
            self._looked = now
            return True
        return False

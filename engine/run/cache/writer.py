"""What a run stores, off its event loop: one thread that commits many results at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from engine.errors import ConfigError
from engine.run.cache.entry import NewEntry
from engine.run.cache.store import TaskCache

_BATCH = 500
_LINGER = 0.05  # seconds that a first result waits for others to share its commit


class CacheWriter:
    """Stores results in the background. What cannot be stored is lost, and `problem` says why: a run goes on without.

    Args:
        cache: Where to.
    """

    def __init__(self, cache: TaskCache) -> None:
        self._cache = cache
        self._queue: SimpleQueue[NewEntry | Sequence[int] | None] = SimpleQueue()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem: str | None = None

    def put(self, entry: NewEntry) -> None:
        """Store a result soon."""
        self._send(entry)

    def touch(self, numbers: Sequence[int]) -> None:
        """Note soon that entries were taken."""
        if numbers:
            self._send(numbers)

    def close(self) -> None:
        """Store what waits."""
        if self._thread is not None:
            self._queue.put(None)
            self._hurry.set()
            self._thread.join()
            self._thread = None

    def _send(self, item: NewEntry | Sequence[int]) -> None:
        if self._thread is None:
            self._hurry.clear()
            self._thread = threading.Thread(target=self._work, name="engine-cache", daemon=True)
            self._thread.start()
        self._queue.put(item)

    def _work(self) -> None:
        last = False
        while not last:
            items = [self._queue.get()]
            if items[0] is not None:
                self._hurry.wait(_LINGER)
            try:
                while len(items) < _BATCH:
                    items.append(self._queue.get_nowait())
            except Empty:
                pass
            last = None in items
            self._store([item for item in items if item is not None])

    def _store(self, items: Sequence[NewEntry | Sequence[int]]) -> None:
        if self.problem is not None:
            return
        try:
            entries = [item for item in items if isinstance(item, NewEntry)]
            if entries:
                self._cache.add(entries)
            taken = [number for item in items if not isinstance(item, NewEntry) for number in item]
            if taken:
                self._cache.touch(taken)
        except ConfigError as error:
            self.problem = str(error)

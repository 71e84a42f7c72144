"""Work that is always done for the newest version of something; what has become outdated is dropped."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
_LOG = logging.getLogger(__name__)


class Worker:
    """One thread that does what it is given, what is late behind the rest; it never keeps the process from ending."""

    def __init__(self) -> None:
        self._work: queue.PriorityQueue[tuple[bool, int, Callable[[], None]]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        threading.Thread(target=self._run, daemon=True, name="engine-lsp").start()

    async def do(self, function: Callable[..., R], *args: Any, late: bool = False) -> R:
        """Call a function in the thread and return what it returns.

        Args:
            function: The function.
            args: Its arguments.
            late: Whether everything that is not late is done before.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()

        def settle(result: R | None, error: BaseException | None) -> None:
            if not future.done():
                future.set_exception(error) if error is not None else future.set_result(result)  # type: ignore[arg-type]  # one of the two is there

        def work() -> None:
            result: R | None = None
            error: BaseException | None = None
            try:
                result = function(*args)
            except BaseException as problem:  # noqa: BLE001 - it is raised where the result is awaited
                error = problem
            if not loop.is_closed():
                loop.call_soon_threadsafe(settle, result, error)

        self._work.put((late, next(self._numbers), work))
        return await future

    def _run(self) -> None:
        while True:
            self._work.get()[2]()


@dataclass(slots=True)
class _State:
    version: int = 0
    thorough: bool = False
    late: bool = False
    gone: bool = False
    task: asyncio.Task[None] | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Newest(Generic[K, R]):
    """Runs one piece of work per key, again whenever the key was touched meanwhile.

    Args:
        worker: Where the work is done.
        slow: Where what is added is done.
        work: The work, which takes the key.
        more: What is added when the work is to be thorough; takes the result and returns a better one.
        done: Takes the key and a result that is not outdated.
    """

    def __init__(
        self,
        worker: Worker,
        slow: Worker,
        work: Callable[[K], R],
        more: Callable[[R], R],
        done: Callable[[K, R], None],
    ) -> None:
        self._worker, self._slow = worker, slow
        self._work, self._more, self._done = work, more, done
        self._states: dict[K, _State] = {}

    def touch(self, key: K, *, thorough: bool = False, late: bool = False) -> None:
        """Have the work done for the key as it is now.

        Args:
            key: The key.
            thorough: Whether what is added is wanted too.
            late: Whether other keys go first.
        """
        state = self._states.setdefault(key, _State())
        state.late = late
        state.version += 1
        state.thorough |= thorough
        state.settled.clear()
        if state.task is None or state.task.done():
            state.task = asyncio.get_running_loop().create_task(self._follow(key, state))

    def forget(self, key: K) -> None:
        """Drop a key and whatever is under way for it."""
        state = self._states.pop(key, None)
        if state is not None:
            state.version += 1
            state.gone = True
            state.settled.set()

    async def settle(self, key: K) -> None:
        """Wait until the work is done for a key as it is now, what is added left out."""
        state = self._states.get(key)
        if state is not None:
            await state.settled.wait()

    async def _follow(self, key: K, state: _State) -> None:
        done = -1
        while done != state.version and not state.gone:
            done = state.version
            try:
                await self._round(key, state)
            except Exception:  # noqa: BLE001 - a fault of the engine; the next edit is checked again
                _LOG.exception("checking %s failed", key)
        state.settled.set()

    async def _round(self, key: K, state: _State) -> None:
        version = state.version
        result = await self._worker.do(self._work, key, late=state.late)
        if version != state.version:
            return
        self._done(key, result)
        state.settled.set()
        if state.thorough:
            better = await self._slow.do(self._more, result)
            if version == state.version:
                state.thorough = False
                self._done(key, better)

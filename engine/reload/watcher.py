"""The Catalog in force, kept up to date with the files."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.bundle.cache import RecentFindings
from engine.bundle.catalog import Catalog
from engine.bundle.source import MANIFESTS, SKIPPED, is_leftover
from engine.diagnostics import Diagnostic
from engine.files import cache_folder
from engine.reload.feed import Feed
from engine.reload.generations import Generations, Reload
from engine.reload.heap import Heap
from engine.reload.places import Places, is_folder, places
from engine.reload.settling import GRACE
from engine.tools import WarmChecker

# Reloads that nobody has taken yet are merged beyond this number.
_BACKLOG = 100
_LOG = logging.getLogger(__name__)


class Watcher:
    """Watches bundles: an async context manager, and an async iterator of reloads that ends with the context.

    Args:
        paths: Folders, zip files and manifests.
        also: Further files whose changes are told, without a new generation.
        use_cache: Whether scripts and constraints that were checked in earlier processes are spared.
    """

    def __init__(self, paths: Iterable[str | Path], *, also: Iterable[str | Path] = (), use_cache: bool = True) -> None:
        self._paths, self._files, self._use_cache = tuple(paths), tuple(also), use_cache
        self._feed = Feed()
        self._work: Generations | None = None
        self._pending: deque[Reload] = deque()
        self._error: BaseException | None = None
        self._closing = False
        self._armed: frozenset[str] = frozenset()
        self._look_again: float | None = None
        self._heap = Heap()
        self._compiling: list[threading.Thread] = []

    @property
    def catalog(self) -> Catalog:
        """The catalog in force; another one with each accepted reload."""
        return self._work.catalog if self._work else Catalog()

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Every finding about the files as they were last looked at."""
        return self._work.diagnostics if self._work else ()

    @property
    def count(self) -> int:
        """Number of bundles that were found, valid or not."""
        return self._work.count if self._work else 0

    async def __aenter__(self) -> Self:
        """Start to watch, then load generation 1.

        Raises:
            ConfigError: The system does not allow to watch so much.
        """
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._ready, self._done = self._loop.create_future(), self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="engine-reload", daemon=True)
        self._thread.start()
        try:
            await asyncio.shield(self._ready)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching; waits for a check that is under way."""
        await self._close()

    def __aiter__(self) -> Self:
        """Iterate over the reloads from now on; each is given once."""
        return self

    async def __anext__(self) -> Reload:
        """Return the next reload.

        Raises:
            ConfigError: The system does not allow to go on watching.
        """
        while not self._closing:
            if self._pending:
                return self._pending.popleft()
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        raise StopAsyncIteration

    async def _close(self) -> None:
        self._closing = True
        self._news.set()
        self._feed.inbox.put()
        await asyncio.shield(self._done)
        self._thread.join()

    def _run(self) -> None:
        """Work until the watcher is closed; the thread's only function."""
        folder = cache_folder() if self._use_cache else None
        try:
            with WarmChecker(folder) as checker:
                work = Generations(self._paths, self._files, checker, RecentFindings(on_disk=self._use_cache))
                self._arm(work)
                work.load()
                self._work = work
                self._arm_parents(work)
                checker.flush()
                self._heap.set_aside()
                self._tell(self._ready)
                while not self._closing:
                    self._step(work)
                    checker.flush()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the thread gets it
            self._error = error
            self._tell(self._ready, error)
            self._call(self._news.set)
        finally:
            self._feed.close()
            for thread in self._compiling:
                thread.join()
            self._heap.give_back()
            self._tell(self._done)

    def _step(self, work: Generations) -> None:
        """Wait for changes and look at them."""
        due = min((item for item in (work.due(), self._look_again) if item is not None), default=None)
        touched, everything = self._feed.inbox.take(max(0.0, due - time.monotonic()) if due is not None else None)
        if self._closing:
            return
        if not everything and not any(map(self._is_folder, touched)):
            work.check_ahead(touched)
        more, more_than_seen = self._feed.inbox.rest()
        touched, everything = touched | more, everything or more_than_seen
        now = time.monotonic()
        again = self._look_again is not None and self._look_again <= now
        # The kernel may have dropped the end of many changes, so all is looked at once more when they are over.
        self._look_again = now + GRACE if everything else None if again else self._look_again
        if everything or again or any(map(self._is_folder, touched)):
            self._arm(work)
            self._deliver(work.look(None, now))
        else:
            self._deliver(work.look(touched, now))
        self._arm_parents(work)
        self._compile(work)

    def _arm(self, work: Generations) -> None:
        # A manifest stands for its folder.
        given = [path.parent if path.name in MANIFESTS else path for path in work.paths]

        def find() -> Places:
            return places([*given, *sorted(work.roots())], self._files)

        self._armed = work.roots()
        self._feed.arm(find)

    def _arm_parents(self, work: Generations) -> None:
        """Watch what bundles have come to depend on, and look again at what happened to it before that."""
        while not work.roots() <= self._armed and not self._closing:
            self._arm(work)
            self._deliver(work.look(None, time.monotonic()))

    def _is_folder(self, path: str) -> bool:
        if self._feed.concerns_folder(path):
            return True
        place = Path(path)
        skipped = place.name in SKIPPED or is_leftover(place.name)
        return not skipped and is_folder(place) and not place.is_symlink()

    def _compile(self, work: Generations) -> None:
        """Compile new constraints in a thread of its own; the import of xgrammar alone takes seconds."""
        bundles = work.uncompiled()
        if self._compiling and not self._compiling[0].is_alive():
            self._compiling.clear()
            self._heap.set_aside()  # xgrammar came with a lot
        if not bundles or self._compiling:
            return

        def compile_all() -> None:
            try:
                work.compile(bundles)
            except Exception as error:  # noqa: BLE001 - whoever waits for a reload gets it
                self._feed.inbox.put(error=error)
            else:
                self._feed.inbox.put()

        thread = threading.Thread(target=compile_all, name="engine-reload-compile", daemon=True)
        self._compiling.append(thread)
        thread.start()

    def _deliver(self, reload: Reload | None) -> None:
        if reload is None:
            return

        def add() -> None:
            if len(self._pending) >= _BACKLOG:
                self._pending.append(_merge(self._pending.pop(), reload))
            else:
                self._pending.append(reload)
            self._news.set()

        self._call(add)

    def _call(self, function: Callable[[], None]) -> None:
        """Call a function in the loop, from the thread."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: nobody waits
            _LOG.debug("the event loop ended before its watcher")

    def _tell(self, future: asyncio.Future[None], error: BaseException | None = None) -> None:
        """Settle a future of the loop, from the thread."""

        def settle() -> None:
            if not future.done():
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

        self._call(settle)


def _merge(first: Reload, second: Reload) -> Reload:
    """Return two reloads as one."""
    return Reload(
        second.catalog,
        first.previous,
        first.changed | second.changed,
        second.diagnostics,
        tuple(sorted({*first.files, *second.files})),
        first.accepted or second.accepted,
    )

"""The file system's notifications, from watchfiles, collected in an inbox: what changed since the last look.

`RustNotify` is the layer under watchfiles' `watch`. It is armed when it is made, so that files can be read after that
and no change falls between. Its folders are named one by one: it would follow symlinks out of a tree, and a folder that
was moved or made anew needs a fresh watch anyway. Its timeout and its stop event drop what is pending, so none is used
but to end; a watch that is replaced is followed by a look at everything.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.errors import ConfigError
from engine.reload.places import Places

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify

# Milliseconds: a change is handed on after one quiet step, and after `_DEBOUNCE` at the latest. It is checked then, and
# taken when `QUIET` is over without another.
_STEP, QUIET, _DEBOUNCE = 4, 8, 50
_STEP_ABOVE = 40
# A batch as large as this may be the end of more than the kernel's queue holds.
_BULK = 1000
_LOG = logging.getLogger(__name__)


@dataclass
class Inbox:
    """What changed, and whether anything may have changed unseen; written by watching threads, read by one."""

    paths: set[str] = field(default_factory=set)
    everything: bool = False
    woken: bool = False
    error: Exception | None = None
    _last: float = 0.0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def put(self, paths: Collection[str] = (), *, everything: bool = False, error: Exception | None = None) -> None:
        """Add changes and wake the reader."""
        with self._changed:
            self.paths.update(paths)
            self.everything = self.everything or everything
            self.error = self.error or error
            self.woken = True
            if paths or everything:
                self._last = time.monotonic()
            self._changed.notify_all()

    def take(self, timeout: float | None) -> tuple[frozenset[str], bool]:
        """Wait for changes and return them, and whether to look at everything.

        Args:
            timeout: Seconds to wait at most; None for ever.

        Raises:
            Exception: What ended the watching.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.woken, timeout)
            if self.error is not None:
                raise self.error
            paths, everything = frozenset(self.paths), self.everything
            self.paths.clear()
            self.everything = self.woken = False
        return paths, everything

    def rest(self) -> tuple[frozenset[str], bool]:
        """Wait until the quiet time is over, and return what changed in it as `take` does."""
        latest = time.monotonic() + _DEBOUNCE / 1000
        with self._changed:
            # The step before the change was handed on was quiet already.
            while (left := min(self._last + (QUIET - _STEP) / 1000, latest) - time.monotonic()) > 0:
                self._changed.wait(left)
        return self.take(0)


class Watch:
    """One armed set of folders and the thread that hands on what changes in them.

    Args:
        folders: The folders; changes below them in other folders are not seen.
        step: Milliseconds of quiet after which changes are handed on.
        put: Takes the paths that changed; None when some may have been missed.
        lenient: Whether folders that cannot be watched are left out.

    Raises:
        OSError: A folder is not there or not readable, or the system's limit of watches is reached.
    """

    def __init__(
        self,
        folders: Collection[str],
        step: int,
        put: Callable[[set[str] | None], None],
        *,
        lenient: bool = False,
    ) -> None:
        from watchfiles._rust_notify import RustNotify

        self._put, self._step = put, step
        self._stop = threading.Event()
        # In order: debug, force polling, polling delay, recursive, ignore what cannot be watched.
        self._notify = RustNotify(sorted(folders), False, False, 300, False, lenient)
        _tell_polling(self._notify)
        self._thread = threading.Thread(target=self._run, name="engine-reload-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Begin to stop."""
        self._stop.set()

    def close(self) -> None:
        """Stop; what is pending is dropped."""
        self._stop.set()
        self._thread.join()
        self._notify.close()

    def _run(self) -> None:
        from watchfiles._rust_notify import WatchfilesRustInternalError

        while not self._stop.is_set():
            try:
                changes = self._notify.watch(_DEBOUNCE, self._step, 0, self._stop)
            except WatchfilesRustInternalError as error:
                _LOG.debug("a watch broke and is made anew: %s", error)  # such as by a file name that is not UTF-8
                self._put(None)
                return
            if isinstance(changes, set):
                self._put({path for _, path in changes})


def _tell_polling(notify: RustNotify) -> None:
    if repr(notify).startswith("RustNotify(Poll"):
        _LOG.warning("this system cannot notify of changes to files: they are looked at every 300 ms instead")


class Feed:
    """Watches places and puts what changes in them into an inbox."""

    def __init__(self) -> None:
        self.inbox = Inbox()
        self.places = Places(frozenset(), frozenset(), frozenset())
        self._watches: list[Watch] = []

    def arm(self, find: Callable[[], Places]) -> None:
        """Watch other places, or the same anew; files that are read after this are read after every missed change.

        Args:
            find: Returns the places; asked again until nothing has changed between its answer and the watch.

        Raises:
            ConfigError: The system's limit of watches is reached.
        """
        self.close()
        for _ in range(20):
            self.places = find()
            try:
                self._watches = self._watch(self.places)
            except (FileNotFoundError, PermissionError, NotADirectoryError):
                self.close()
                continue
            if find() == self.places:
                return
            self.close()
        # It does not come to rest: watch what there is, and look at all of it again.
        self._watches = self._watch(self.places, lenient=True)
        self.inbox.put(everything=True)

    def close(self) -> None:
        """Stop watching."""
        watches, self._watches = self._watches, []
        for watch in watches:
            watch.stop()
        for watch in watches:
            watch.close()

    def concerns_folder(self, path: str) -> bool:
        """Whether a path is one of a watched folder, or leads to one."""
        return path in self.places.folders or path in self.places.names

    def _watch(self, where: Places, *, lenient: bool = False) -> list[Watch]:
        made: list[Watch] = []
        try:
            made.append(Watch(where.folders, _STEP, self._put, lenient=lenient))
            made.append(Watch(where.above, _STEP_ABOVE, self._put_above, lenient=lenient))
        except Exception as error:
            for watch in made:
                watch.close()
            refused = _limit(error)
            if refused is not None:
                raise refused from error
            raise
        return made

    def _put(self, paths: set[str] | None) -> None:
        self.inbox.put(paths or (), everything=paths is None or len(paths) >= _BULK)

    def _put_above(self, paths: set[str] | None) -> None:
        relevant = self.places.names.intersection(paths or ())
        if relevant or paths is None:
            self.inbox.put(relevant, everything=paths is None)


def _limit(error: Exception) -> ConfigError | None:
    """Return what to tell when the system allows no more watches; None for another error."""
    text = str(error)
    if "limit" in text or "os error 28" in text:
        return ConfigError(
            "the system allows no more watched folders: raise the limit, on Linux with "
            "'sudo sysctl fs.inotify.max_user_watches=524288', or watch fewer folders"
        )
    if "os error 24" in text:
        return ConfigError(
            "the system allows no more watchers or open files: close other programs that watch files, or raise the "
            "limits, on Linux with 'sudo sysctl fs.inotify.max_user_instances=1024' and 'ulimit -n 4096'"
        )
    return None

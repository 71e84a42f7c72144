"""A type checker for a process that checks again and again: its workers stay alive, its findings stay in memory."""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from engine.tools.checkcache import Finding
from engine.tools.checker import REQUEST_TIMEOUT, Checked, ScriptChecker, check_in_pool, check_one
from engine.tools.script import Script

if TYPE_CHECKING:
    from pydantic_monty import Monty

MAX_KNOWN = 4096
# Seconds within which a script cannot have worn out its checker.
_QUICK = 2.0


class WarmChecker(ScriptChecker):
    """Checks scripts like a ScriptChecker, without its start-up and its writes to the disk; one thread at a time.

    Args:
        cache_dir: Where `flush` writes what is new; None for nowhere.
    """

    def __init__(self, cache_dir: Path | None = None) -> None:
        super().__init__(cache_dir)
        self._known: OrderedDict[str, list[Finding]] = OrderedDict()
        self._unsaved: dict[str, list[Finding]] = {}
        self._pool: Monty | None = None
        self._left: list[Callable[[], None]] = []
        self._workers = os.cpu_count() or 1

    def __enter__(self) -> Self:
        """Start the workers."""
        self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the workers and write what is new."""
        self._close()
        self.flush()

    def flush(self) -> None:
        """Do what need not be done between a script and its findings: end the session, write them to the disk."""
        self._leave()
        unsaved, self._unsaved = self._unsaved, {}
        if unsaved:
            super()._store(unsaved)

    def _load(self, keys: Sequence[str]) -> dict[str, list[Finding]]:
        found = {key: self._known[key] for key in keys if key in self._known}
        missing = [key for key in keys if key not in found]
        if missing:
            read = super()._load(missing)
            self._remember(read)
            found |= read
        return found

    def _store(self, findings: Mapping[str, list[Finding]]) -> None:
        self._remember(findings)
        self._unsaved |= findings

    def _remember(self, findings: Mapping[str, list[Finding]]) -> None:
        self._known.update(findings)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    def _check_all(self, scripts: Mapping[str, Script]) -> dict[str, Checked]:
        began = time.monotonic()
        found = self._check(scripts)
        unsure = {key: scripts[key] for key, (_, final) in found.items() if not final}
        if unsure:
            self._close()  # a worker that gave up is not trusted with the next script
            if time.monotonic() - began < _QUICK:  # it was gone before
                found |= self._check(unsure)
        return found

    def _check(self, scripts: Mapping[str, Script]) -> dict[str, Checked]:
        self._leave()
        pool = self._open()
        if len(scripts) == 1:
            return {key: check_one(pool, script, self._left.append) for key, script in scripts.items()}
        return check_in_pool(pool, scripts, self._workers)

    def _open(self) -> Monty:
        if self._pool is None:
            from pydantic_monty import Monty

            pool = Monty(max_processes=self._workers, request_timeout=REQUEST_TIMEOUT)
            self._pool = pool.__enter__()
        return self._pool

    def _leave(self) -> None:
        while self._left:
            self._left.pop()()

    def _close(self) -> None:
        self._leave()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)

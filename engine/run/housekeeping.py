"""Which runs a project remembers: what was decided goes after a while, what waits for somebody stays."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import EngineError
from engine.events import LogReader, RunRecord
from engine.events.forget import forget_runs, is_running
from engine.run.resume import BROKEN_OFF
from engine.workspace import ChangeStore

_log = logging.getLogger("engine.run")
_DAY = 86_400
_PATIENCE = 5  # seconds that a run's end waits for it


@dataclass(frozen=True, slots=True)
class Keep:
    """Which runs are kept, besides those that are not over.

    Attributes:
        runs: That many of the newest; None for all.
        days: Only those that started within so many days; None for all.
    """

    runs: int | None = None
    days: float | None = None


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was forgotten, or would be.

    Attributes:
        runs: The runs.
        kept: Runs that were due, each with the reason why it was kept all the same.
        events: How many events.
        tasks: How many tasks.
        changes: How many decided changes.
        bytes: The space that was given back.
    """

    runs: tuple[str, ...]
    kept: tuple[tuple[str, str], ...] = ()
    events: int = 0
    tasks: int = 0
    changes: int = 0
    bytes: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `engine runs prune --json` prints."""
        kept = [{"run_id": run_id, "reason": reason} for run_id, reason in self.kept]
        counts = {name: getattr(self, name) for name in ("events", "tasks", "changes", "bytes")}
        return {"runs": list(self.runs), "kept": kept, **counts}


class Housekeeper:
    """Forgets runs of a project; all methods block.

    Args:
        root: The project's root.
        log: The file of the event log.
    """

    def __init__(self, root: Path, log: Path) -> None:
        self._root, self._log = root, log
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Have `tidy` end soon, in another thread; what it leaves is there for the next time."""
        self._stopped.set()

    def due(self, keep: Keep, named: Sequence[str] = (), *, but: str = "") -> list[RunRecord]:
        """Return the runs that are not to be kept, or those that are named; the newest first.

        Args:
            keep: Which to keep.
            named: Return these instead.
            but: A run that is not looked at and not counted: the one that starts.
        """
        with LogReader(self._log) as reader:
            runs = [run for run in reader.runs() if run.run_id != but]
        if named:
            return [run for run in runs if run.run_id in named]
        since = None if keep.days is None else time.time() - keep.days * _DAY
        return [
            run
            for place, run in enumerate(runs)
            if (keep.runs is not None and place >= keep.runs) or (since is not None and run.started < since)
        ]

    def tidy(
        self, due: Iterable[RunRecord], *, unfinished: bool = False, dry_run: bool = False, busy: bool = False
    ) -> Tidied:
        """Forget runs, but for those that go on, that have changes which wait, or that can be resumed.

        Args:
            due: The runs.
            unfinished: Also those that can be resumed, and those that went on, on a machine that cannot be seen.
            dry_run: Forget nothing.
            busy: A run goes on: hold no lock for long, and leave free space for it where that would take one.

        Raises:
            ConfigError: A file is damaged or locked, or cannot be written.
        """
        runs = list(due)
        if not runs:
            return Tidied(())
        store = ChangeStore(self._root)
        try:
            reasons = self._reasons(runs, store.unsettled_runs(), unfinished=unfinished)
            gone = [run.run_id for run in runs if run.run_id not in reasons]
            kept = tuple(reasons.items())
            if dry_run:
                return Tidied(tuple(gone), kept)
            # What was decided goes first: a run without its changes is forgotten the next time, not the reverse.
            changes = store.forget_runs(gone)
            freed = store.give_back() if changes and not busy else 0
            told = forget_runs(self._log, gone, unknown=not unfinished, stop=self._stopped.is_set)
            return Tidied(told.runs, kept, told.events, told.tasks, changes, freed + told.bytes)
        finally:
            store.close()

    def _reasons(self, runs: list[RunRecord], unsettled: set[str], *, unfinished: bool) -> dict[str, str]:
        """Return why runs are kept, by their ids."""
        reasons = {run.run_id: "its changes wait for a decision" for run in runs if run.run_id in unsettled}
        with LogReader(self._log) as reader:
            for run in runs:
                if run.status == "running" and is_running(self._log, run.run_id, unknown=not unfinished):
                    reasons[run.run_id] = "it is running"
                elif not unfinished and can_be_resumed(reader, run):
                    reasons.setdefault(run.run_id, "it can be resumed")
        return reasons


def can_be_resumed(reader: LogReader, run: RunRecord) -> bool:
    """Whether a run ended early and has tasks that are left to do."""
    if run.status == "running" or not run.summary.get("request"):
        return False
    ends = reader.task_ends(run.run_id)
    return any(state in ("planned", "running") or (state == "stopped" and why in BROKEN_OFF) for state, why in ends)


@contextlib.asynccontextmanager
async def tidying(root: Path, log: Path, keep: Keep | None, run_id: str = "") -> AsyncIterator[None]:
    """Forget what is not to be kept, in a thread beside the body, which it never disturbs.

    It ends some seconds after the body at the latest, or at once where the body is broken off.

    Args:
        root: The project's root.
        log: The file of the event log.
        keep: Which runs to keep; None for all.
        run_id: The run that starts.
    """
    if keep is None:
        yield
        return
    keeper = Housekeeper(root, log)
    work = asyncio.create_task(asyncio.to_thread(_tidy_quietly, keeper, keep, run_id))
    try:
        yield
        await asyncio.wait({work}, timeout=_PATIENCE)
    finally:
        keeper.stop()
        await asyncio.shield(work)


def _tidy_quietly(keeper: Housekeeper, keep: Keep, run_id: str) -> None:
    try:
        tidied = keeper.tidy(keeper.due(keep, but=run_id), busy=True)
    except EngineError as error:
        _log.warning("old runs were not forgotten: %s", error)
    else:
        if tidied.runs:
            _log.info("%d old runs were forgotten, %d bytes freed", len(tidied.runs), tidied.bytes)

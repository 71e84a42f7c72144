"""Who goes on with a run: one process at a time, by the mark of the process in the run's row of the event log."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.errors import ConfigError
from engine.events.liveness import ProcessMark, is_gone, this_process
from engine.events.schema import connect
from engine.sqlite import way_out

_ROW = "SELECT status, ended, pid, born, place FROM runs WHERE run_id = ?"
_SET = "UPDATE runs SET status = ?, ended = ?, pid = ?, born = ?, place = ? WHERE run_id = ?"
_live: set[str] = set()


@contextlib.contextmanager
def running(run_id: str) -> Iterator[None]:
    """Say that this process runs it: its mark alone cannot tell a run that goes on here from one that broke here."""
    _live.add(run_id)
    try:
        yield
    finally:
        _live.discard(run_id)


@contextlib.contextmanager
def claimed(log: Path, run_id: str, *, take_over: bool = False) -> Iterator[str]:
    """Hold the only permit to go on with a run; it ends with this process, however that ends.

    The mark of this process takes the place of the last one's in one transaction, so of several processes one wins. At
    the end the row is what it was, unless the run has ended by then.

    Args:
        log: The file of the event log.
        run_id: The run.
        take_over: Also where the process that ran it cannot be looked at from here.

    Yields:
        How the run had ended: finished, failed, stopped or interrupted.

    Raises:
        ConfigError: The run goes on in another process, or here.
    """
    before = _claim(log, run_id, take_over=take_over)
    try:
        with running(run_id):
            yield "interrupted" if before[0] == "running" else before[0]
    finally:
        # Where this cannot be written, the mark of a process that is gone soon says the same.
        with contextlib.suppress(ConfigError), _writing(log) as database:
            now = database.execute(_ROW, (run_id,)).fetchone()
            if now is not None and now[0] == "running" and tuple(now[2:]) == tuple(this_process()):
                database.execute(_SET, (*before, run_id))


def _claim(log: Path, run_id: str, *, take_over: bool) -> tuple[Any, ...]:
    """Put this process's mark into the run's row; returns what the row said before."""
    with _writing(log) as database:
        row = database.execute(_ROW, (run_id,)).fetchone()
        if row is None:
            raise ConfigError(f"there is no run '{run_id}' in {log}: engine runs lists them")
        _check(run_id, row[0], ProcessMark(*row[2:]), take_over=take_over)
        database.execute(_SET, ("running", None, *this_process(), run_id))
        return tuple(row)


def _check(run_id: str, status: str, mark: ProcessMark, *, take_over: bool) -> None:
    ours = this_process()
    if status != "running" or is_gone(mark) or (mark == ours and run_id not in _live):
        return
    if mark.place == ours.place or not take_over:
        where = "in this process" if mark == ours else f"in process {mark.pid}"
        raise ConfigError(
            f"run {run_id} is still running {where}"
            + (
                ": engine top shows it; stop it first, or wait"
                if mark.place == ours.place
                else f" on another machine or in another container ({mark.place.partition(' ')[0]}), as far as can be "
                "seen from here; if that one is gone, say so with --take-over"
            )
        )


@contextlib.contextmanager
def _writing(log: Path) -> Iterator[sqlite3.Connection]:
    """Open the log and hold its write lock for one transaction.

    Raises:
        ConfigError: The log cannot be written.
    """
    with contextlib.closing(connect(log)) as database:
        try:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        except sqlite3.Error as error:
            raise ConfigError(f"the event log {log} cannot be written: {error}; {way_out(error)}") from error

"""Tasks that were done when their run died before the log had heard of it: their changes are stored already."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.events.encode import load
from engine.events.schema import connect_reader
from engine.messages import Usage
from engine.run.checks import CheckResult
from engine.run.results import StoredChanges
from engine.run.resume import Past, Settled
from engine.run.task import TaskResult
from engine.workspace import ChangeHead, ChangeStore

_NEWEST_FIRST = "SELECT task_id, type, time, data FROM events WHERE run_id = ? ORDER BY seq DESC LIMIT 200000"
_NOBODY: Any = None  # the task is filled in by whoever knows its assignment

_Told = tuple[str, float, Mapping[str, Any]]
"""An event's type, time and fields."""


def settled_results(past: Past, log: Path, store: ChangeStore) -> dict[str, Settled]:
    """Return what tasks that are left came to already, by their ids; the `task` of a result is not filled in.

    A change is stored durably before the log is told, so that a process, or a whole machine, may die in between. Such a
    task is not run again: what it offered may have been accepted by now.

    Args:
        past: The run so far.
        log: The file of the event log.
        store: The change store.
    """
    left = {row.task_id for row in past.left}
    offers: dict[str, list[ChangeHead]] = {}
    for head in store.heads(past.run_id) if left else ():
        if head.task_id in left:
            offers.setdefault(head.task_id, []).append(head)
    # What did not pass its checks is no end that the task can be said to have come to: it is tried again, unless a
    # person took it all the same.
    whole = {task_id: heads for task_id, heads in offers.items() if all(_counts(head) for head in heads)}
    told = last_tries(log, past.run_id, whole) if whole else {}
    return {
        task_id: Settled(
            _result(past.run_id, store, heads, told.get(task_id, ())),
            frozenset(str(data.get("file")) for kind, _, data in told.get(task_id, ()) if kind == "change:offered"),
        )
        for task_id, heads in whole.items()
    }


def _counts(head: ChangeHead) -> bool:
    return head.passed or head.state == "accepted"


def last_tries(log: Path, run_id: str, task_ids: Collection[str]) -> dict[str, list[_Told]]:
    """Return the events of the last try of some tasks, newest first, as far as they reached the log."""
    missing, found = set(task_ids), dict[str, list[_Told]]()
    with contextlib.closing(connect_reader(log)) as database, contextlib.suppress(sqlite3.Error):
        for task_id, kind, time, text in database.execute(_NEWEST_FIRST, (run_id,)):
            if task_id in missing:
                found.setdefault(task_id, []).append((kind, time, load(text)))
                if kind == "task:started":
                    missing.discard(task_id)
                    if not missing:
                        break
    return found


def _result(run_id: str, store: ChangeStore, heads: Sequence[ChangeHead], told: Sequence[_Told]) -> TaskResult:
    replies = [data for kind, _, data in told if kind == "model:responded"]
    summaries = [str(data.get("summary", "")) for kind, _, data in told if kind == "tool:returned"]
    times = [time for _, time, _ in told]
    return TaskResult(
        _NOBODY,
        "finished",
        "offered",
        summary=next(filter(None, summaries), ""),
        changes=StoredChanges(store, run_id, heads[0].task_id, len(heads)),
        turns=sum(kind == "turn:completed" for kind, _, _ in told),
        usage=sum((_usage(data) for data in replies), Usage()),
        seconds=round(max(times) - min(times), 3) if times else 0.0,
        adapter=replies[0].get("adapter") if replies else None,
        checks=tuple(_checks(heads[0].checks)),
    )


def _usage(data: Mapping[str, Any]) -> Usage:
    found = data.get("usage")
    known = found if isinstance(found, Mapping) else {}
    return Usage(*(int(known.get(name) or 0) for name in ("prompt_tokens", "completion_tokens", "cached_tokens")))


def _checks(told: Iterable[Mapping[str, Any]]) -> Iterable[CheckResult]:
    for check in told:
        yield CheckResult(
            str(check.get("file", "")),
            str(check.get("check", "")),
            bool(check.get("passed")),
            str(check.get("detail", "")),
        )

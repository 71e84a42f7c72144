"""Review of a run: which of its changes to look at, take or drop."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.events import ChangeDecided
from engine.run.checks import parse_problem
from engine.workspace import ChangeStore, Decision, OfferedChange, accept, reject

WAITING = ("pending", "conflict")


class Review:
    """The changes of one run.

    Args:
        root: The project's root.
        store: The change store.
        run_id: The run.
    """

    def __init__(self, root: Path, store: ChangeStore, run_id: str) -> None:
        self._root, self._store, self.run_id = root, store, run_id

    def offered(self, patterns: Sequence[str] = (), states: Sequence[str] | None = WAITING) -> list[OfferedChange]:
        """Return the changes in these states (None: all) whose task id, file, node or `file::node` matches a glob."""
        rows = self._store.list(self.run_id)
        return [row for row in rows if (states is None or row.state in states) and _matches(row, patterns)]

    def accept(self, patterns: Sequence[str] = ()) -> list[Decision]:
        """Write the waiting changes into the project; each refused one says why and stays."""
        return self.accept_tasks(_tasks(self.offered(patterns)))

    def accept_tasks(self, task_ids: Iterable[str]) -> list[Decision]:
        """Write the waiting changes of these tasks."""
        return accept(self._store, self._root, self.run_id, task_ids=list(task_ids), verify=parse_problem)

    def reject(self, patterns: Sequence[str] = ()) -> list[Decision]:
        """Drop the waiting changes."""
        return reject(self._store, self.run_id, task_ids=_tasks(self.offered(patterns)))

    def events(self, decisions: Sequence[Decision]) -> list[ChangeDecided]:
        """Return the decisions as events."""
        return [
            ChangeDecided(run_id=self.run_id, task_id=one.task_id, file=one.path, decision=one.state, reason=one.reason)
            for one in decisions
        ]


def _tasks(rows: Iterable[OfferedChange]) -> list[str]:
    return list(dict.fromkeys(row.task_id for row in rows))


def _matches(row: OfferedChange, patterns: Sequence[str]) -> bool:
    names = (row.task_id, row.change.path, row.node, row.node.partition("::")[2])
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)

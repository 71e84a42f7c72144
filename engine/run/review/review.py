"""Review of a run: which of its changes to look at, take, drop or take back; each decision goes into the run's log."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from engine.events import ChangeDecided, EventLog
from engine.run.checks import parse_problem
from engine.workspace import (
    WAITING,
    ChangeHead,
    ChangeStore,
    Decision,
    OfferedChange,
    Outlook,
    Selection,
    accept,
    outlook,
    reject,
    undo,
)

Condition = Callable[[ChangeHead], bool]


class Review:
    """The changes of one run.

    Args:
        root: The project's root.
        store: The change store.
        run_id: The run.
        open_log: Opens the event log that hears of every decision; without it the caller tells of them.
    """

    def __init__(
        self, root: Path, store: ChangeStore, run_id: str, open_log: Callable[[], EventLog] | None = None
    ) -> None:
        self._root, self.store, self.run_id, self._open_log = root, store, run_id, open_log

    def heads(
        self,
        patterns: Sequence[str] = (),
        states: Sequence[str] | None = WAITING,
        where: Condition | None = None,
    ) -> list[ChangeHead]:
        """Return the changes in these states (None: all) that are meant, without their contents.

        Args:
            patterns: Globs; the task id, file, node or `file::node` must match one of them, if there are any.
            states: The states.
            where: What else must hold.
        """
        found = [head for head in self.store.heads(self.run_id) if states is None or head.state in states]
        return [head for head in found if _matches(head, patterns) and (where is None or where(head))]

    def offered(
        self,
        patterns: Sequence[str] = (),
        states: Sequence[str] | None = WAITING,
        where: Condition | None = None,
    ) -> Iterator[OfferedChange]:
        """Yield the changes that `heads` names, whole, one at a time."""
        for head in self.heads(patterns, states, where):
            row = self.store.get(head.id)
            if row is not None:
                yield row

    def outlook(self, row: OfferedChange) -> tuple[Outlook, bytes | None]:
        """Return what accepting a change would meet now, and what its file holds.

        Raises:
            WorkspaceError: The file cannot be read.
        """
        return outlook(self.store, self._root, row)

    def accept(
        self,
        patterns: Sequence[str] = (),
        where: Condition | None = None,
        *,
        failing: bool = False,
        merge: bool = False,
    ) -> list[Decision]:
        """Write the waiting changes that are meant into the project; each refused one says why and stays.

        Args:
            patterns: As for `heads`.
            where: As for `heads`.
            failing: Also those that did not pass their checks.
            merge: Also into files that somebody edited meanwhile, where that comes clean.
        """
        return self.accept_these(_numbers(self.heads(patterns, WAITING, where)), failing=failing, merge=merge)

    def accept_tasks(self, task_ids: Iterable[str]) -> list[Decision]:
        """Write the waiting changes of these tasks, but not those that did not pass their checks."""
        return self._accept(Selection(task_ids=set(task_ids)))

    def accept_these(self, numbers: Iterable[int], *, failing: bool = False, merge: bool = False) -> list[Decision]:
        """Write the waiting changes of these numbers."""
        return self._accept(Selection(numbers=set(numbers), failing=failing, merge=merge))

    def reject(self, patterns: Sequence[str] = (), where: Condition | None = None) -> list[Decision]:
        """Drop the waiting changes that are meant."""
        return self.reject_these(_numbers(self.heads(patterns, WAITING, where)))

    def reject_these(self, numbers: Iterable[int]) -> list[Decision]:
        """Drop the waiting changes of these numbers."""
        self.tell()
        return self._logged(reject(self.store, self.run_id, selection=Selection(numbers=set(numbers))))

    def undo(self, patterns: Sequence[str] = (), where: Condition | None = None) -> list[Decision]:
        """Take the accepted changes that are meant out of the project's files; they wait again."""
        return self.undo_these(_numbers(self.heads(patterns, ("accepted",), where)))

    def undo_these(self, numbers: Iterable[int]) -> list[Decision]:
        """Take the accepted changes of these numbers out of the project's files."""
        self.tell()
        chosen = Selection(numbers=set(numbers))
        return self._logged(undo(self.store, self._root, self.run_id, chosen, verify=parse_problem))

    def edit(
        self, head: ChangeHead, after: bytes | None, checks: Mapping[int, Sequence[Mapping[str, Any]]]
    ) -> OfferedChange | None:
        """Put what a person wrote in place of a waiting change; returns it, or None when it does not wait any more.

        Args:
            head: The change.
            after: What the file is to hold; None deletes it.
            checks: What the checks say now, for the number of each change of the task that waits.
        """
        with self.store.deciding():
            done = self.store.edit(head, after, checks)
        self.tell()
        return self.store.get(head.id) if done else None

    def events(self, decisions: Sequence[Decision]) -> list[ChangeDecided]:
        """Return the decisions as events."""
        return [
            ChangeDecided(run_id=self.run_id, task_id=one.task_id, file=one.path, decision=one.state, reason=one.reason)
            for one in decisions
        ]

    def mark_told(self, decisions: Iterable[Decision]) -> None:
        """Remember that the run's event log has these decisions."""
        known = {(one.task_id, one.path, one.state) for one in decisions}
        waiting = self.store.untold(self.run_id)
        self.store.told([head for head, word in waiting if (head.task_id, head.path, word) in known])

    def tell(self, also: Iterable[ChangeDecided] = ()) -> None:
        """Bring the run's event log up to the decisions, also to those of a process that died before it could tell.

        Args:
            also: What else to append: what was refused leaves no trace in the store.
        """
        if self._open_log is None:
            return
        with self.store.deciding():
            waiting = self.store.untold(self.run_id)
            events = [_event(head, word) for head, word in waiting] + list(also)
            if not events:
                return
            with self._open_log() as log:
                # A run that was pruned from the log does not come back for this.
                for event in events if log.run(self.run_id) is not None else ():
                    log.append(event)
            self.store.told([head for head, _ in waiting])

    def _accept(self, selection: Selection) -> list[Decision]:
        self.tell()
        return self._logged(accept(self.store, self._root, self.run_id, verify=parse_problem, selection=selection))

    def _logged(self, decisions: list[Decision]) -> list[Decision]:
        self.tell(self.events([one for one in decisions if one.state == "refused"]))
        return decisions


def _event(head: ChangeHead, word: str) -> ChangeDecided:
    return ChangeDecided(run_id=head.run_id, task_id=head.task_id, file=head.path, decision=word, reason=head.reason)


def _numbers(heads: Iterable[ChangeHead]) -> list[int]:
    return [head.id for head in heads]


def _matches(head: ChangeHead, patterns: Sequence[str]) -> bool:
    names = (head.task_id, head.path, head.node, head.node.partition("::")[2])
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)

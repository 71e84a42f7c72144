"""Accepting, rejecting, and taking back: from the store into the project's files, one file at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import WorkspaceError
from engine.workspace.change import Change
from engine.workspace.live import LiveFile
from engine.workspace.merge import Resolution, resolve, resolve_undo
from engine.workspace.offered import WAITING, ChangeHead, Intent, OfferedChange
from engine.workspace.pieces import compatible
from engine.workspace.rows import DELETED, digest
from engine.workspace.store import ChangeStore
from engine.workspace.threeway import changed_lines, merge
from engine.workspace.together import Together, Verify

Outlook = Literal["write", "done", "collides", "changed"]
Word = Literal["accepted", "rejected", "undone", "conflict", "refused"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a change.

    Attributes:
        task_id: The task that offered it.
        path: The file.
        state: accepted, rejected or undone; conflict when it collides with an accepted change, refused when the file is
            not what the task read, or not what accepting made of it. A change in conflict or refused is kept and can be
            decided on again.
        reason: Why, and what to do next.
    """

    task_id: str
    path: str
    state: Word
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which changes of a run a decision is about; None means all.

    Attributes:
        task_ids: Only changes of these tasks.
        numbers: Only changes of these numbers.
        failing: Also changes that did not pass their checks.
        merge: Where somebody else edited the file meanwhile, merge, if that comes clean.
    """

    task_ids: Collection[str] | None = None
    numbers: Collection[int] | None = None
    failing: bool = False
    merge: bool = False

    def takes(self, head: ChangeHead) -> bool:
        """Whether a change is meant."""
        by_task = self.task_ids is None or head.task_id in self.task_ids
        return by_task and (self.numbers is None or head.id in self.numbers)


def accept(
    store: ChangeStore,
    root: Path,
    run_id: str,
    *,
    task_ids: Collection[str] | None = None,
    verify: Verify | None = None,
    selection: Selection | None = None,
) -> list[Decision]:
    """Write a run's waiting changes into the project, in the order of their offers.

    Each file is written as a whole or not at all. When the process dies in between, accepting again finishes what is
    left. Doing it twice changes nothing. What did not pass its checks is refused, unless that is asked for.

    Args:
        store: The change store.
        root: The project's root.
        run_id: The run.
        task_ids: Only changes of these tasks; None means all.
        verify: Asked before each write.
        selection: Which changes, and how; in place of `task_ids`.
    """
    chosen = selection or Selection(task_ids)
    with store.deciding():
        finished = [row for row in _recover(store, root) if row.run_id == run_id and not row.intent_undo]
        decisions = [_decision(row, "accepted") for row in finished if chosen.takes(row)]
        waiting = [head for head in store.heads(run_id, WAITING) if chosen.takes(head)]
        at_once = Together(store, root, verify)
        done = at_once.accept([head for head in waiting if head.passed or chosen.failing])
        left = _chosen(store, [head for head in waiting if head.id not in done], chosen)
        found = {row.id: _accept_one(store, root, row, verify, chosen) for row in left}
        return decisions + [found.get(head.id) or _decision(head, "accepted") for head in waiting]


def reject(
    store: ChangeStore,
    run_id: str,
    *,
    task_ids: Collection[str] | None = None,
    reason: str = "",
    selection: Selection | None = None,
) -> list[Decision]:
    """Drop a run's waiting changes; the project's files stay as they are.

    Args:
        store: The change store.
        run_id: The run.
        task_ids: Only changes of these tasks; None means all.
        reason: Why, for the record.
        selection: Which changes; in place of `task_ids`.
    """
    chosen = selection or Selection(task_ids)
    with store.deciding():
        rows = [head for head in store.heads(run_id, WAITING) if chosen.takes(head)]
        for row in rows:
            store.settle(row, "rejected", reason)
    return [_decision(row, "rejected", reason) for row in rows]


def undo(
    store: ChangeStore, root: Path, run_id: str, selection: Selection, *, verify: Verify | None = None
) -> list[Decision]:
    """Take a run's accepted changes out of the project's files again, the newest first; they wait again.

    A file that is as accepting left it becomes what it was before. One that was edited since keeps those edits, where
    they don't touch what the change did; else it is refused and stays. Doing it twice changes nothing, also when the
    process dies in between.

    Args:
        store: The change store.
        root: The project's root.
        run_id: The run.
        selection: Which changes.
        verify: Asked before each write.
    """
    with store.deciding():
        finished = [row for row in _recover(store, root) if row.run_id == run_id and row.intent_undo]
        decisions = [_decision(row, "undone") for row in finished if selection.takes(row)]
        wanted = [head for head in store.heads(run_id, ("accepted",)) if selection.takes(head)]
        newest_first = sorted(wanted, key=lambda one: (one.decided_at or 0, one.id), reverse=True)
        done = Together(store, root, verify).undo(wanted)
        left = _chosen(store, [head for head in newest_first if head.id not in done], selection)
        found = {row.id: _undo_one(store, root, row, verify) for row in left}
        return decisions + [found.get(head.id) or _decision(head, "undone") for head in newest_first]


def outlook(store: ChangeStore, root: Path, row: OfferedChange) -> tuple[Outlook, bytes | None]:
    """Return what accepting a change would meet now, and the file's bytes.

    Args:
        store: The change store.
        root: The project's root.
        row: The change.

    Returns:
        `write`: it goes in, beside what was accepted before; `done`: the file has it; `collides`: with an accepted
        change; `changed`: somebody else edited the file.

    Raises:
        WorkspaceError: The file cannot be read.
    """
    live = LiveFile(root, row.path).read()
    accepted = [other.change for other in store.in_file(row.path, row.change.before) if other.id != row.id]
    ours = store.wrote(row.run_id, row.path, live)
    action = resolve(row.change, live, accepted, three_way=ours).action
    return "collides" if ours and action == "changed" else action, live


def _chosen(store: ChangeStore, heads: Sequence[ChangeHead], selection: Selection) -> Iterator[OfferedChange]:
    """Yield the selected changes whole, one at a time: a run may have thousands."""
    for head in heads:
        row = store.get(head.id) if selection.takes(head) else None
        if row is not None:
            yield row


def _decision(row: ChangeHead, state: Word, reason: str = "") -> Decision:
    return Decision(row.task_id, row.path, state, reason)


def _accept_one(
    store: ChangeStore, root: Path, row: OfferedChange, verify: Verify | None, selection: Selection
) -> Decision:
    if not (row.passed or selection.failing):
        return _decision(row, "refused", _not_passing(row))
    try:
        file = LiveFile(root, row.path)
        live = file.read()
    except WorkspaceError as error:
        return _decision(row, "refused", str(error))
    accepted = [other for other in store.in_file(row.path, row.change.before) if other.id != row.id]
    # What only changes of this run made of the file is no edit of somebody else's: one that started from another of
    # them goes in beside the others.
    ours = store.wrote(row.run_id, row.path, live)
    changes = [other.change for other in accepted]
    resolution = resolve(row.change, live, changes, three_way=selection.merge or ours)
    if resolution.action == "changed" and ours:
        return _conflict(store, row, _collides(row.path, [one for one in store.list(row.run_id) if _is_in(one, row)]))
    if resolution.action == "changed":
        return _decision(row, "refused", _changed(row.change, live, merging=selection.merge))
    if resolution.action == "collides":
        rivals = [other for other in accepted if not compatible(other.change, row.change)]
        return _conflict(store, row, _collides(row.path, rivals or accepted))
    how = Intent(alone=resolution.alone, mixed=resolution.merged and not ours)
    return _bring_in(store, row, (file, live), (resolution, how, verify), accepted)


def _is_in(other: OfferedChange, row: OfferedChange) -> bool:
    return other.path == row.path and other.state == "accepted"


def _bring_in(
    store: ChangeStore,
    row: OfferedChange,
    at: tuple[LiveFile, bytes | None],
    what: tuple[Resolution, Intent, Verify | None],
    accepted: Sequence[OfferedChange],
) -> Decision:
    (file, live), (resolution, how, verify) = at, what
    if resolution.action == "write":
        problem = verify(row.path, live, resolution.content) if verify is not None else None
        if problem and accepted and not resolution.alone:
            return _conflict(store, row, f"{problem}, together with {_tasks(accepted)}")
        if not problem:
            store.intend(row, resolution.content, live, how)
            problem = _write(file, resolution.content, row.change.mode if row.change.before is None else None)
        if problem:
            store.forget_intent(row)
            return _decision(row, "refused", problem)
    store.settle(row, "accepted", how=how)
    return _decision(row, "accepted")


def _undo_one(store: ChangeStore, root: Path, row: OfferedChange, verify: Verify | None) -> Decision:
    try:
        file = LiveFile(root, row.path)
        live = file.read()
    except WorkspaceError as error:
        return _decision(row, "refused", str(error))
    others = [other.change for other in store.in_file(row.path, row.change.before) if other.id != row.id]
    resolution = resolve_undo(row.change, live, others, _back(store, row))
    if resolution.action == "changed":
        return _decision(row, "refused", _stuck(row.change, live))
    if resolution.action == "write":
        problem = verify(row.path, live, resolution.content) if verify is not None else None
        if not problem:
            store.intend(row, resolution.content, live, Intent(undo=True))
            problem = _write(file, resolution.content, row.change.mode if live is None else None)
        if problem:
            store.forget_intent(row)
            return _decision(row, "refused", problem)
    store.settle(row, "pending", word="undone")
    return _decision(row, "undone")


def _back(store: ChangeStore, row: OfferedChange) -> list[Change]:
    """Return the way back out of the file as it was when the change was accepted, where that is known."""
    if row.result is None or row.prior is None:
        return []
    return [Change(row.path, store.content(row.result), store.content(row.prior))]


def _conflict(store: ChangeStore, row: OfferedChange, reason: str) -> Decision:
    store.settle(row, "conflict", reason)
    return _decision(row, "conflict", reason)


def _write(file: LiveFile, content: bytes | None, mode: int | None) -> str | None:
    """Write or delete the file; returns why that was not possible."""
    try:
        file.write(content, mode)
    except OSError as error:
        return f"{file.path} cannot be written: {error.strerror or error}"
    return None


def _recover(store: ChangeStore, root: Path) -> list[OfferedChange]:
    """Finish or forget the writes that a process began and did not settle; returns the changes that were made."""
    finished: list[OfferedChange] = []
    for row in store.intents():
        try:
            file = LiveFile(root, row.path)
            file.tidy()
            live = file.read()
        except WorkspaceError:
            store.forget_intent(row)
            continue
        if row.intent != (digest(live) or DELETED):
            store.forget_intent(row)
        elif row.intent_undo:
            store.settle(row, "pending", word="undone")
            finished.append(row)
        else:
            store.settle(row, "accepted", how=Intent(alone=row.intent_alone, mixed=row.intent_mixed))
            finished.append(row)
    return finished


def _not_passing(row: OfferedChange) -> str:
    detail = next((str(check["detail"]) for check in row.checks if not check["passed"] and check["detail"]), "")
    return f"its checks did not pass{f' ({detail})' if detail else ''}; to take it all the same: --failing"


def _changed(change: Change, live: bytes | None, *, merging: bool) -> str:
    path = change.path
    if change.before is None:
        what = f"{path} exists now, with other content"
    elif live is None:
        what = f"{path} does not exist any more"
    else:
        what = f"{path} changed since the task read it ({changed_lines(change.before, live)})"
    why = merge(change.before, live, change.after).why
    if merging:
        return f"{what}, and cannot be merged: {why}; engine diff --merge shows the three sides"
    way = "" if why else "accept --merge brings both together, or "
    return f"{what}; {way}undo that and accept again, or run the bundle again on the file as it is"


def _stuck(change: Change, live: bytes | None) -> str:
    if live is None:
        what = f"{change.path} does not exist any more"
    elif change.after is None:
        what = f"{change.path} exists again, with other content"
    else:
        what = f"{change.path} was edited where the change is ({merge(change.after, live, change.before).why})"
    return f"{what}; take it out by hand"


def _collides(path: str, accepted: Sequence[OfferedChange]) -> str:
    others = _tasks(accepted)
    return f"{path}: the same lines were changed by {others}, accepted before; run the bundle again, or reject this one"


def _tasks(rows: Sequence[OfferedChange]) -> str:
    names = ", ".join(dict.fromkeys(row.task_id for row in rows))
    return f"task {names}"

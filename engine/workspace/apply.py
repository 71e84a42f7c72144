"""Accepting and rejecting: from the store into the project's files, one file at a time and never half of one."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from engine.errors import WorkspaceError
from engine.files import atomic_write, is_private, join_inside
from engine.files.atomic import sync_folder
from engine.workspace.merge import Resolution, resolve
from engine.workspace.store import DELETED, ChangeStore, OfferedChange

Verify = Callable[[str, bytes | None, bytes | None], str | None]
"""Given path, old bytes and new bytes, returns why the new ones must not be written, or None."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a change.

    Attributes:
        task_id: The task that offered it.
        path: The file.
        state: accepted or rejected; conflict when it collides with an accepted change, refused when the file is not
            what the task read. A change in conflict or refused is kept and can be decided on again.
        reason: Why, and what to do next.
    """

    task_id: str
    path: str
    state: Literal["accepted", "rejected", "conflict", "refused"]
    reason: str = ""


def accept(
    store: ChangeStore,
    root: Path,
    run_id: str,
    *,
    task_ids: Collection[str] | None = None,
    verify: Verify | None = None,
) -> list[Decision]:
    """Write a run's waiting changes into the project, in the order of their offers.

    Each file is written as a whole or not at all. When the process dies in between, accepting again finishes what is
    left. Doing it twice changes nothing.

    Args:
        store: The change store.
        root: The project's root.
        run_id: The run.
        task_ids: Only changes of these tasks; None means all.
        verify: Asked before each write.
    """
    with store.deciding():
        finished = _recover(store, root)
        decisions = [_decision(row, "accepted") for row in finished if _wanted(row, run_id, task_ids)]
        waiting = _waiting(store, run_id, task_ids)
        return decisions + [_accept_one(store, root, row, verify) for row in waiting]


def reject(
    store: ChangeStore, run_id: str, *, task_ids: Collection[str] | None = None, reason: str = ""
) -> list[Decision]:
    """Drop a run's waiting changes; the project's files stay as they are.

    Args:
        store: The change store.
        run_id: The run.
        task_ids: Only changes of these tasks; None means all.
        reason: Why, for the record.
    """
    with store.deciding():
        rows = _waiting(store, run_id, task_ids)
        for row in rows:
            store.settle(row, "rejected", reason)
    return [_decision(row, "rejected", reason) for row in rows]


def _waiting(store: ChangeStore, run_id: str, task_ids: Collection[str] | None) -> list[OfferedChange]:
    rows = store.list(run_id)
    return [row for row in rows if row.state in ("pending", "conflict") and _wanted(row, run_id, task_ids)]


def _wanted(row: OfferedChange, run_id: str, task_ids: Collection[str] | None) -> bool:
    return row.run_id == run_id and (task_ids is None or row.task_id in task_ids)


def _decision(
    row: OfferedChange, state: Literal["accepted", "rejected", "conflict", "refused"], reason: str = ""
) -> Decision:
    return Decision(row.task_id, row.change.path, state, reason)


def _accept_one(store: ChangeStore, root: Path, row: OfferedChange, verify: Verify | None) -> Decision:
    path = row.change.path
    try:
        target = _target(root, path)
        live = _read(target, path)
    except WorkspaceError as error:
        return _decision(row, "refused", str(error))
    return _bring_in(store, row, target, live, verify)


def _bring_in(
    store: ChangeStore, row: OfferedChange, target: Path, live: bytes | None, verify: Verify | None
) -> Decision:
    path = row.change.path
    accepted = list(store.in_file(path, row.change.before))
    resolution = resolve(row.change, live, [other.change for other in accepted])
    if resolution.action == "changed":
        return _decision(row, "refused", _changed(row, live))
    if resolution.action == "collides":
        return _conflict(store, row, _collides(path, accepted))
    if resolution.action == "write":
        problem = verify(path, live, resolution.content) if verify is not None else None
        if problem and not resolution.alone:
            return _conflict(store, row, f"{problem}, together with {_tasks(accepted)}")
        problem = problem or _write(store, row, target, resolution)
        if problem:
            return _decision(row, "refused", problem)
    store.settle(row, "accepted", alone=resolution.alone)
    return _decision(row, "accepted")


def _conflict(store: ChangeStore, row: OfferedChange, reason: str) -> Decision:
    store.settle(row, "conflict", reason)
    return _decision(row, "conflict", reason)


def _write(store: ChangeStore, row: OfferedChange, target: Path, resolution: Resolution) -> str | None:
    """Write or delete the file; returns why that was not possible."""
    store.intend(row, resolution.content, alone=resolution.alone)
    try:
        if resolution.content is None:
            target.unlink()
            sync_folder(target.parent)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            mode = row.change.mode if row.change.before is None else None
            atomic_write(target, resolution.content, mode, temporary=_temporary(target))
    except OSError as error:
        store.forget_intent(row)
        return f"{row.change.path} cannot be written: {error.strerror or error}"
    return None


def _recover(store: ChangeStore, root: Path) -> list[OfferedChange]:
    """Finish or forget the writes that a process began and did not settle; returns the changes that were made."""
    finished: list[OfferedChange] = []
    for row in store.intents():
        try:
            target = _target(root, row.change.path)
            with contextlib.suppress(OSError):
                _temporary(target).unlink()
            live = _read(target, row.change.path)
        except WorkspaceError:
            store.forget_intent(row)
            continue
        if row.intent == (DELETED if live is None else sha256(live).hexdigest()):
            store.settle(row, "accepted", alone=row.intent_alone)
            finished.append(row)
        else:
            store.forget_intent(row)
    return finished


def _temporary(target: Path) -> Path:
    """Name the file that is written before `target` is replaced, so that a later process finds what a dead one left."""
    return target.with_name(f".engine-{sha256(os.fsencode(target.name)).hexdigest()[:16]}.tmp")


def _target(root: Path, path: str) -> Path:
    if is_private(path):
        raise WorkspaceError(f"{path} belongs to git or to the engine; no change may touch it")
    return join_inside(root, path)


def _read(target: Path, path: str) -> bytes | None:
    try:
        info = target.lstat()
        if not stat.S_ISREG(info.st_mode):
            raise WorkspaceError(f"{path} is not a plain file any more; move away what is there now")
        return target.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise WorkspaceError(f"{path} cannot be read: {error.strerror or error}") from error


def _changed(row: OfferedChange, live: bytes | None) -> str:
    path = row.change.path
    if row.change.before is None:
        what = f"{path} exists now, with other content"
    elif live is None:
        what = f"{path} does not exist any more"
    else:
        what = f"{path} changed since the task read it"
    return f"{what}; undo that and accept again, or run the bundle again on the file as it is"


def _collides(path: str, accepted: list[OfferedChange]) -> str:
    others = _tasks(accepted)
    return f"{path}: the same lines were changed by {others}, accepted before; run the bundle again, or reject this one"


def _tasks(rows: list[OfferedChange]) -> str:
    names = ", ".join(dict.fromkeys(row.task_id for row in rows))
    return f"task {names}"

"""Many changes of one file at once: written once, where they fit together and the file is as they expect it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from engine.errors import WorkspaceError
from engine.workspace.live import LiveFile
from engine.workspace.merge import composed
from engine.workspace.offered import ChangeHead, Intent, OfferedChange
from engine.workspace.pieces import compatible
from engine.workspace.store import ChangeStore

Verify = Callable[[str, bytes | None, bytes | None], str | None]
"""Given path, old bytes and new bytes, returns why the new ones must not be written, or None."""

_MOST = 200  # changes that are held in memory at once


class Together:
    """Accepts and takes back what needs no closer look; whatever does is left for one by one.

    The caller holds the permit to decide.

    Args:
        store: The change store.
        root: The project's root.
        verify: Asked before each write.
    """

    def __init__(self, store: ChangeStore, root: Path, verify: Verify | None) -> None:
        self._store, self._root, self._verify = store, root, verify

    def accept(self, heads: Sequence[ChangeHead]) -> set[int]:
        """Write changes into their files; return the numbers of those that are in."""
        done: set[int] = set()
        for batch in self._batches(heads):
            done |= self._accept(batch)
        return done

    def undo(self, heads: Sequence[ChangeHead]) -> set[int]:
        """Take accepted changes out of their files; return the numbers of those that are out."""
        done: set[int] = set()
        for batch in self._batches(heads):
            done |= self._undo(batch)
        return done

    def _batches(self, heads: Iterable[ChangeHead]) -> Iterator[list[OfferedChange]]:
        """Yield several changes of one file that started from the same content."""
        files: dict[str, list[ChangeHead]] = {}
        for head in heads:
            files.setdefault(head.path, []).append(head)
        for found in files.values():
            for start in range(0, len(found), _MOST) if len(found) > 1 else ():
                rows = [self._store.get(head.id) for head in found[start : start + _MOST]]
                edits = [row for row in rows if row is not None and row.change.kind == "edit"]
                yield [row for row in edits if row.change.before == edits[0].change.before]

    def _accept(self, batch: Sequence[OfferedChange]) -> set[int]:
        if len(batch) < 2:
            return set()
        file, live, there = self._around(batch)
        alone = live == batch[0].change.before
        held = [] if alone else [row.change for row in there]
        if file is None or not (alone or composed(held) == (live,)):
            return set()
        taken: list[OfferedChange] = []
        for row in batch:
            if all(compatible(other, row.change) for other in (*held, *(one.change for one in taken))):
                taken.append(row)
        whole = composed([*held, *(row.change for row in taken)]) if len(taken) > 1 else None
        if whole is None or not self._write(file, taken, (live, whole[0]), Intent(alone=alone)):
            return set()
        return {row.id for row in taken}

    def _undo(self, batch: Sequence[OfferedChange]) -> set[int]:
        if len(batch) < 2:
            return set()
        file, live, there = self._around(batch)
        numbers = {row.id for row in batch}
        if file is None or not there or composed([row.change for row in there]) != (live,):
            return set()
        left = [row.change for row in there if row.id not in numbers]
        rest = composed(left) if left else (batch[0].change.before,)
        inside = {row.id for row in there} >= numbers
        if not inside or rest is None or not self._write(file, batch, (live, rest[0]), Intent(undo=True)):
            return set()
        return numbers

    def _around(self, batch: Sequence[OfferedChange]) -> tuple[LiveFile | None, bytes | None, Sequence[OfferedChange]]:
        """Return the file, what it holds, and the accepted changes that should be in it."""
        path, before = batch[0].path, batch[0].change.before
        try:
            file = LiveFile(self._root, path)
            return file, file.read(), self._store.in_file(path, before)
        except WorkspaceError:
            return None, None, ()

    def _write(
        self,
        file: LiveFile,
        rows: Sequence[OfferedChange],
        step: tuple[bytes | None, bytes | None],
        how: Intent,
    ) -> bool:
        live, content = step
        if self._verify is not None and self._verify(file.path, live, content) is not None:
            return False
        self._store.intend_together(rows, content, how)
        try:
            if content != live:
                file.write(content, None)
        except OSError:
            for row in rows:
                self._store.forget_intent(row)
            return False
        self._store.settle_together(rows, how)
        return True

"""Whether what a task read is still the same: every question of it is asked again, each once for many tasks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from engine.errors import EngineError
from engine.manifest.bundle_model import Permissions
from engine.run.cache.record import Read, base_digest, stands_alone
from engine.workspace import Change, Project
from engine.workspace.commands import program_digest
from engine.workspace.reads import digest_of
from engine.workspace.tree import FileDigests


class Holds:
    """The answers now. All methods block.

    Args:
        root: The project's root.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._digests = FileDigests()
        self._projects: dict[tuple[str, ...], Project] = {}
        self._answers: dict[tuple[tuple[str, ...], str, str], str] = {}

    def all(self, reads: Iterable[Read], permissions: Permissions, base: Sequence[Change] = ()) -> bool:
        """Tell whether all answers are the same.

        Args:
            reads: The questions with their answers.
            permissions: The bundle's permissions.
            base: What tasks that come before offered.
        """
        reads = list(reads)
        if base and not stands_alone(reads) and all(read.kind != "base" for read in reads):
            return False  # nothing was there of tasks before
        return all(self.same(read, permissions, base) for read in reads)

    def same(self, read: Read, permissions: Permissions, base: Sequence[Change] = ()) -> bool:
        """Tell whether the answer to a question is what it was; no answer is never the same."""
        return self.answer(read, permissions, base) == read.answer != ""

    def answer(self, read: Read, permissions: Permissions, base: Sequence[Change] = ()) -> str:
        """Return the answer to a question now; empty for a question that nobody knows."""
        if read.kind == "base":
            return base_digest(base)
        if read.kind == "file":
            for change in base:
                if change.path == read.subject:
                    return digest_of(change.after)
        key = (tuple(permissions.read), read.kind, read.subject)
        if key not in self._answers:
            self._answers[key] = self._ask(read, permissions)
        return self._answers[key]

    def _ask(self, read: Read, permissions: Permissions) -> str:
        if read.kind == "program":
            return program_digest(read.subject)
        globs = tuple(permissions.read)
        if globs not in self._projects:
            self._projects[globs] = Project(self._root, permissions, self._digests)
        try:
            return self._projects[globs].answer(read.kind, read.subject)
        except (EngineError, OSError, LookupError, TypeError, ValueError):
            return ""  # a row that was damaged, or a file that cannot be looked at

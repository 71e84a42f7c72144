"""Whether what a task read is still the same: every question of it is asked again, each once for many tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from engine.errors import EngineError
from engine.manifest.bundle_model import Permissions
from engine.run.cache.record import Read
from engine.workspace import Project
from engine.workspace.commands import program_digest
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

    def all(self, reads: Iterable[Read], permissions: Permissions) -> bool:
        """Tell whether all answers are the same."""
        return self.first_other(reads, permissions) is None

    def first_other(self, reads: Iterable[Read], permissions: Permissions) -> Read | None:
        """Return the first question whose answer is another now."""
        return next((read for read in reads if not self.same(read, permissions)), None)

    def same(self, read: Read, permissions: Permissions) -> bool:
        """Tell whether the answer to a question is what it was; no answer is never the same."""
        return self.answer(read, permissions) == read.answer != ""

    def answer(self, read: Read, permissions: Permissions) -> str:
        """Return the answer to a question now; empty for a question that nobody knows."""
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

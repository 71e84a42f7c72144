"""What a task learned about the project: each question with the digest of its answer, so that it can be asked again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from engine.errors import WorkspaceError

ABSENT = "absent"

Question = tuple[str, str]
"""A kind and a subject: `("file", "src/a.py")`."""


class Reads:
    """The questions of one task, each with its first answer. The methods may be called from several threads.

    Attributes:
        untracked: Why nobody can tell what the task read; None where that is known.
    """

    def __init__(self) -> None:
        self._answers: dict[Question, str] = {}
        self._lock = threading.Lock()
        self.untracked: str | None = None

    def note(self, kind: str, subject: str, answer: Callable[[], str]) -> None:
        """Remember a question; `answer` is asked only the first time."""
        question = (kind, subject)
        with self._lock:
            if question not in self._answers:
                self._answers[question] = answer()

    def lose(self, reason: str) -> None:
        """Say that something was read that nobody keeps track of."""
        self.untracked = self.untracked or reason

    def answers(self) -> list[tuple[str, str, str]]:
        """Return kind, subject and answer of each question, sorted."""
        with self._lock:
            return sorted((*question, answer) for question, answer in self._answers.items())


def digest_of(content: bytes | None) -> str:
    """Return the answer to what a file holds: its SHA-256, hex."""
    return ABSENT if content is None else sha256(content).hexdigest()


def digest_of_value(value: Any) -> str:
    """Return the digest of a JSON value."""
    return sha256(json.dumps(value, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def digest_of_error(error: WorkspaceError) -> str:
    """Return the answer to a question that was refused."""
    return f"error {sha256(str(error).encode('utf-8', 'backslashreplace')).hexdigest()}"

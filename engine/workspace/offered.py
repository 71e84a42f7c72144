"""Offered changes as the change store knows them: whole, or only their heads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.workspace.change import Change, Kind

State = Literal["pending", "accepted", "rejected", "conflict"]
WAITING: tuple[State, ...] = ("pending", "conflict")


@dataclass(frozen=True, slots=True)
class Intent:
    """What a decision does to a file.

    Attributes:
        alone: The file then holds this change only (or these), of all accepted ones.
        undo: The change is taken out.
        mixed: The file then also holds edits of a person.
    """

    alone: bool = False
    undo: bool = False
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """What a task offers.

    Attributes:
        run_id: The run.
        task_id: The task.
        node: The node that the task worked on, `file::name`.
        changes: The changes.
        checks: What the bundle's checks said: `{file, check, passed, detail}` each.
        facts: What else is known of the task, as JSON values: what a person may select changes by.
    """

    run_id: str
    task_id: str
    node: str
    changes: Iterable[Change]
    checks: Iterable[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeHead:
    """A change in the store without its contents.

    Attributes:
        id: Its number; later offers have greater ones.
        run_id: The run.
        task_id: The task.
        node: The node that the task worked on, `file::name`.
        path: The file.
        kind: What happens to the file.
        added: Lines that are new.
        removed: Lines that go.
        checks: What the bundle's checks said of all changes of the task: `{file, check, passed, detail}` each.
        passed: Whether all of them passed.
        facts: What else is known of the task.
        state: pending, accepted, rejected, or conflict (it collided with an accepted one, and still waits).
        reason: Why it is in this state.
        offered_at: Seconds since 1970.
        decided_at: Seconds since 1970; None while it was never decided on.
        edited: Whether a person edited it.
    """

    id: int
    run_id: str
    task_id: str
    node: str
    path: str
    kind: Kind
    added: int
    removed: int
    checks: tuple[Mapping[str, Any], ...] = ()
    passed: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)
    state: State = "pending"
    reason: str = ""
    offered_at: float = 0.0
    decided_at: float | None = None
    edited: bool = False

    @property
    def failed_checks(self) -> list[str]:
        """The names of the checks that did not pass, each once."""
        return list(dict.fromkeys(str(check["check"]) for check in self.checks if not check["passed"]))

    @property
    def marks(self) -> str:
        """Its state, and what else a person should know at first sight."""
        failing = "" if self.passed else f", not passing: {', '.join(self.failed_checks)}"
        return f"{self.state}{', edited' if self.edited else ''}{failing}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedChange(ChangeHead):
    """A change in the store.

    Attributes:
        change: The change itself.
        intent: What a process began to write for it, when that was not settled: a hash, `-` for a deletion.
        intent_alone: Whether the file then held this change only.
        intent_undo: Whether it was about to be taken out of the file.
        intent_mixed: Whether the file then held edits of a person, too.
        prior: Accepted alone: the hash of the file before, `-` for no file; None where that is not known.
        result: The same of the file after.
    """

    change: Change
    intent: str | None = None
    intent_alone: bool = False
    intent_undo: bool = False
    intent_mixed: bool = False
    prior: str | None = None
    result: str | None = None

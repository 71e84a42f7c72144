"""What views show of single tasks: those that run, and those that ended without being finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.events import Event


@dataclass(slots=True)
class Flight:
    """A task that runs.

    Attributes:
        task_id: The task.
        bundle: The bundle's name.
        place: `file:line node`; not yet made printable.
        since: When it started doing what it does, in seconds since 1970; 0 where that is not known.
        turn: The turn that it is in, from 1; 0 before the first.
        doing: What it does: `starts`, `waits for the model`, `runs TOOL`, `reads on` between them.
    """

    task_id: str
    bundle: str
    place: str
    since: float = 0.0
    turn: int = 0
    doing: str = "starts"


@dataclass(frozen=True, slots=True)
class Ending:
    """A task that ended without being finished.

    Attributes:
        task_id: The task.
        bundle: The bundle's name.
        place: `file:line node`.
        outcome: failed, stopped, parked or skipped.
        cause: The reason, in the engine's words.
        error: What went wrong, in the words of whoever said it.
    """

    task_id: str
    bundle: str
    place: str
    outcome: str
    cause: str
    error: str


def as_mapping(event: Event, time: float) -> dict[str, Any]:
    """Return an event that just happened as the log gives it back; nothing large is copied."""
    return {"type": event.type, "time": time, "run_id": event.run_id, "task_id": event.task_id, **event.payload()}


def place_of(event: Mapping[str, Any]) -> str:
    """Return where an event's task is, as `file:line node`; not yet made printable."""
    return f"{event['file']}:{event['line']} {event['node']}"

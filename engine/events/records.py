"""What the event log gives back: a stored event and a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from engine.events.encode import load


class StoredEvent(NamedTuple):
    """An event with its place in the log; a row of the table `events`.

    Attributes:
        run_id: The run.
        seq: Its number within the run: 1, 2, 3 … without a gap.
        time: When it was appended, in seconds since 1970 UTC.
        type: The wire name, such as `tool:called`.
        task_id: The task; empty for facts about the whole run.
        text: The event's own fields as JSON text.
    """

    run_id: str
    seq: int
    time: float
    type: str
    task_id: str
    text: str

    def as_dict(self) -> dict[str, Any]:
        """Return the object of one `--json` line, as `event_to_json` does."""
        head = {"seq": self.seq, "time": self.time, "type": self.type, "run_id": self.run_id, "task_id": self.task_id}
        return head | load(self.text)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the log knows it.

    Attributes:
        run_id: Its id.
        started: Its first event, in seconds since 1970 UTC.
        ended: When it finished; None while it runs and when it was interrupted.
        status: `running`, `interrupted` (its process is gone), or what RunFinished said, such as `finished`.
        summary: The fields of RunStarted and RunFinished together.
    """

    run_id: str
    started: float
    ended: float | None
    status: str
    summary: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `engine runs --json` prints."""
        head = {"run_id": self.run_id, "started": self.started, "ended": self.ended, "status": self.status}
        return dict(self.summary) | head

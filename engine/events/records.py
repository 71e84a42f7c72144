"""What the event log gives back: a stored event and a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from engine.events.encode import load
from engine.events.used import NOTHING, Used


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


TASK_STATES = ("planned", "running", "finished", "failed", "stopped", "parked", "skipped")
"""What can be said of a task: how far it is, or its outcome."""


class TaskRow(NamedTuple):
    """A task of a run as far as it got; a row of the table `tasks`.

    Attributes:
        run_id: The run.
        task_id: The task.
        place: Its place in the plan, from 0.
        bundle: The bundle's name.
        operation: The operation of engine.yaml that it belongs to; empty for a bundle that was named itself.
        node_id: The node's id.
        node: Its qualified name.
        type: Its type.
        file: Its file, relative to the project's root.
        line: Its first line when the run was planned.
        state: One of TASK_STATES.
        reason: Why it ended.
        error: What went wrong.
        attempts: How often it was tried.
        seconds: Time on the clock.
        prompt_tokens: Of all turns.
        completion_tokens: Of all turns.
        changes: Changes offered.
        cached: 1 when the result came from the cache, else 0.
    """

    run_id: str
    task_id: str
    place: int
    bundle: str
    operation: str
    node_id: str
    node: str
    type: str
    file: str
    line: int
    state: str = "planned"
    reason: str = ""
    error: str | None = None
    attempts: int = 0
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    changes: int = 0
    cached: int = 0


class TaskSum(NamedTuple):
    """What the tasks of a run add up to that have the same bundle and state.

    Attributes:
        bundle: The bundle's name.
        state: As in TaskRow.
        cached: 1 for those whose result came from the cache, else 0.
        tasks: How many there are.
        changes: Changes offered.
        prompt_tokens: Of all their turns.
        completion_tokens: Of all their turns.
    """

    bundle: str
    state: str
    cached: int
    tasks: int
    changes: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as the log knows it.

    Attributes:
        run_id: Its id.
        started: Its first event, in seconds since 1970 UTC.
        ended: When it finished; None while it runs and when it was interrupted.
        status: `running`, `interrupted` (its process is gone), or what RunFinished said, such as `finished`.
        summary: The fields of RunStarted and RunFinished together; budgets are those in force, and `usage`, `cost` and
            `tool_calls` what the run used up to now; `resumed` is when it was last gone on with.
        used: What it used up to now, of all tries of its tasks.
    """

    run_id: str
    started: float
    ended: float | None
    status: str
    summary: Mapping[str, Any]
    used: Used = NOTHING

    def as_dict(self) -> dict[str, Any]:
        """Return the object that `engine runs --json` prints."""
        head = {"run_id": self.run_id, "started": self.started, "ended": self.ended, "status": self.status}
        return dict(self.summary) | head


def summed(summary: Mapping[str, Any], used: Used) -> dict[str, Any]:
    """Return a run's summary with what it used up to now: tasks may have been done again since it ended."""
    sums: dict[str, Any] = {"usage": asdict(used.usage), "tool_calls": used.tool_calls}
    if used.usage.total_tokens:
        sums["cost"] = used.cost
    return {**summary, **sums}


def budgeted(
    summary: Mapping[str, Any], budget: Mapping[str, float] | None, given: Mapping[str, float] | None
) -> dict[str, Any]:
    """Return a run's summary with the budget in force, and what was given of it; None leaves them as they are."""
    said = {name: value for name, value in (("settings", budget), ("request", given)) if value is not None}
    known = {name: found for name in said if isinstance(found := summary.get(name), Mapping)}
    return {**summary, **{name: {**known.get(name, {}), "budget": dict(value)} for name, value in said.items()}}

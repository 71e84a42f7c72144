"""How a run stands that another process writes, from the log; and how a tally looks as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.events import LogReader
from engine.run.tally import Tally

_GLANCED = 500  # events that tell what the tasks in flight do

_UNFINISHED = ("running", "failed", "stopped", "parked", "skipped")


def attach(reader: LogReader, run_id: str) -> tuple[Tally, int]:
    """Take a tally of a run in the midst of it, without reading all its events.

    Args:
        reader: An open event log.
        run_id: A run that is there, by its full id.

    Returns:
        The tally, and the number of the last event that is in it.
    """
    record = reader.run(run_id)
    seq, sums, used = reader.standing(run_id)
    tally = Tally(run_id=run_id)
    if record is None:
        return tally, 0
    if not sums:  # before the plan, or written before there were rows of tasks
        for event in reader.events(run_id):
            tally.add(event)
            seq = event["seq"]
    else:
        resumed = record.summary.get("resumed")
        tally.restore(sums, used, reader.tasks(run_id, _UNFINISHED), resumed or record.started)
        if resumed is not None and record.status == "running":
            tally.take_up()
        newest = reader.events(run_id, after=max(0, seq - _GLANCED), limit=min(seq, _GLANCED))
        tally.glance(_this_part(newest), whole=resumed is None)
        first = reader.events(run_id, limit=10)
        tally.expected = sum(int(event.get("cached") or 0) for event in first if event["type"] == "run:planned")
    settings = record.summary.get("settings")
    tally.settings = settings if isinstance(settings, Mapping) else {}
    if record.status != "running":
        tally.end(record.status, record.ended)
    return tally, seq


def _this_part(events: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the events since the run was gone on with; pace and times of an earlier part tell nothing now."""
    begins = [number for number, event in enumerate(events) if event["type"] == "run:resumed"]
    return events[begins[-1] :] if begins else events


def as_dict(tally: Tally, now: float) -> dict[str, Any]:
    """Return how a run stands as JSON values; rates per second, times in seconds."""
    used = tally.used
    return {
        "run_id": tally.run_id,
        "status": tally.status,
        "started": tally.started,
        "seconds": round(max(0.0, tally.clock(now) - tally.started), 3) if tally.started is not None else None,
        "seconds_left": _rounded(tally.seconds_left(now)),
        "tasks": tally.total,
        "done": tally.done,
        "outcomes": {outcome: number for outcome, number in sorted(tally.counts.items()) if number},
        "bundles": {name: dict(+outcomes) for name, outcomes in sorted(tally.bundles.items())},
        "cached": tally.cached,
        "changes": tally.changes,
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "saved_tokens": tally.saved_tokens,
        "cost": tally.cost,
        "tool_calls": used.tool_calls,
        "budget": dict(tally.settings.get("budget") or {}),
        "tasks_per_second": _rounded(tally.tasks_per_second(now)),
        "tokens_per_second": _rounded(tally.tokens_per_second(now)),
        "pace": None if tally.pace is None else {"limit": tally.pace[0], "reason": tally.pace[1]},
        "in_flight": [
            {"task": one.task_id, "bundle": one.bundle, "place": one.place, "turn": one.turn, "doing": one.doing}
            | {"seconds": round(max(0.0, now - one.since), 3) if one.since else None}
            for one in tally.flights.values()
        ],
        "causes": [
            {"outcome": outcome, "cause": cause, "tasks": number}
            for (outcome, cause), number in (+tally.causes).most_common()
        ],
        "endings": [
            {"task": one.task_id, "bundle": one.bundle, "place": one.place, "outcome": one.outcome, "error": one.error}
            for one in tally.endings
        ],
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

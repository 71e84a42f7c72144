"""From the event log and the change store to what a report tells; both are only read."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from engine.events import LogReader, TaskRow
from engine.report.facts import Call, Detail, RunFacts, TaskFacts, ToolUse, Turn
from engine.report.text import clip
from engine.workspace import ChangeHead, ChangeStore

_PAGE = 5000
_NAMED = 100  # groups of measurements by name; more would be no plot


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a run a page holds.

    Attributes:
        details: Tasks that are shown turn by turn with their diffs.
        turns: Turns of a task.
        text: Characters of a reply, of a call's arguments and of its result.
    """

    details: int = 500
    turns: int = 20
    text: int = 4000


def collect(log: LogReader, store: ChangeStore | None, run_id: str, limits: Limits | None = None) -> RunFacts:
    """Read a run.

    Args:
        log: The event log.
        store: The change store; None where the project has none.
        run_id: The run's full id.
        limits: How much is read of single tasks.
    """
    limits = limits or Limits()
    record = log.run(run_id)
    assert record is not None  # noqa: S101 - the id was resolved
    run = RunFacts(run_id, record.status, record.started, record.ended or record.started)
    run.used, run.cost = record.used, record.summary.get("cost")
    heads = _heads(store, run_id)
    rows = log.tasks(run_id)
    chosen = choose(rows, heads.keys(), limits.details)
    run.tasks = [_task(number, row, chosen, heads.get(row.task_id, ())) for number, row in enumerate(rows, 1)]
    run.changes.update(head.state for several in heads.values() for head in several)
    reading = _Reading(run, limits)
    for event in _events(log, run_id):
        reading.take(event)
    reading.finish()
    if store is not None:
        _attach_changes(run, store, heads)
    return run


def choose(rows: Sequence[TaskRow], changed: Collection[str], limit: int) -> set[str]:
    """Return the ids of the tasks that are worth their details: those that did not finish, then those with changes."""

    def rank(row: TaskRow) -> int:
        if row.state in ("failed", "stopped", "parked"):
            return 0
        return 1 if row.task_id in changed else 3 if row.state in ("planned", "skipped") else 2

    # Half of the places are kept for changes, however much failed.
    ranked = sorted(rows, key=rank)
    ended_badly = [row for row in ranked if rank(row) == 0]
    others = [row for row in ranked if rank(row) != 0]
    first = ended_badly[: max(limit // 2, limit - len(others))]
    return {row.task_id for row in (*first, *others[: limit - len(first)]) if rank(row) != 3}


def _heads(store: ChangeStore | None, run_id: str) -> dict[str, list[ChangeHead]]:
    heads: dict[str, list[ChangeHead]] = {}
    for head in store.heads(run_id) if store is not None else ():
        heads.setdefault(head.task_id, []).append(head)
    return heads


def _task(number: int, row: TaskRow, chosen: Collection[str], heads: Sequence[ChangeHead]) -> TaskFacts:
    return TaskFacts(
        number,
        row.task_id,
        row.bundle,
        row.node,
        row.file,
        row.line,
        outcome=row.state,
        reason=row.reason,
        error=row.error or "",
        seconds=row.seconds,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        cached=bool(row.cached),
        attempts=row.attempts,
        added=sum(head.added for head in heads),
        removed=sum(head.removed for head in heads),
        states=tuple(head.state for head in heads),
        detail=Detail() if row.task_id in chosen else None,
    )


def _attach_changes(run: RunFacts, store: ChangeStore, heads: Mapping[str, Sequence[ChangeHead]]) -> None:
    for task in run.tasks:
        if task.detail is not None:
            found = (store.get(head.id) for head in heads.get(task.task_id, ()))
            task.detail.changes = [change for change in found if change is not None]


def _events(log: LogReader, run_id: str) -> Iterator[Mapping[str, Any]]:
    after = 0
    while page := log.events(run_id, after=after, limit=_PAGE, types=tuple(_Reading.HANDLERS)):
        yield from page
        after = page[-1]["seq"]


class _Reading:
    """Folds events into facts."""

    def __init__(self, run: RunFacts, limits: Limits) -> None:
        self._run, self._limits = run, limits
        self._tasks = {task.task_id: task for task in run.tasks}
        self._open: dict[str, float] = {}
        self._part = 0.0
        self._last = 0.0

    def take(self, event: Mapping[str, Any]) -> None:
        """Take the next event."""
        if "unreadable" in event:
            return
        self.HANDLERS[event["type"]](self, event)
        self._last = max(self._last, event["time"])

    def finish(self) -> None:
        """Close what is still open."""
        run = self._run
        if self._part:
            self._close_part(self._last)
        for task_id, start in self._open.items():
            self._tasks[task_id].spans.append((start, 0.0))
        run.ended = max([run.started, *(end for _, end in run.parts)])

    def _close_part(self, end: float) -> None:
        self._run.parts.append((self._part, max(end, self._part)))
        self._part = 0.0

    def _run_started(self, event: Mapping[str, Any]) -> None:
        run = self._run
        self._part = event["time"]
        run.bundles, run.targets = event["bundles"], event["targets"]
        run.settings, run.request = dict(event.get("settings") or {}), dict(event.get("request") or {})
        run.digests = event.get("digests") or {}

    def _run_planned(self, event: Mapping[str, Any]) -> None:
        self._run.files, self._run.nodes = event["files"], event["nodes"]
        self._run.notes += event["notes"]

    def _run_resumed(self, event: Mapping[str, Any]) -> None:
        if self._part:  # the part before died without a word
            self._close_part(self._last)
        self._part = event["time"]
        self._run.notes.append(f"gone on with: {event['done']} tasks were done, {event['left']} were left")
        self._run.notes += event.get("notes") or ()
        for what, budget in ((self._run.settings, event.get("budget")), (self._run.request, event.get("given"))):
            if budget is not None:
                what["budget"] = budget

    def _run_finished(self, event: Mapping[str, Any]) -> None:
        if self._part:
            self._close_part(event["time"])

    def _pace_changed(self, event: Mapping[str, Any]) -> None:
        self._run.pace.append((event["time"], event["limit"], event["reason"]))

    def _task_started(self, event: Mapping[str, Any]) -> None:
        task = self._tasks.get(event["task_id"])
        if task is None:
            return
        self._open[task.task_id] = event["time"]
        if task.detail is not None:  # only its last attempt is shown
            task.detail.turns.clear()
            task.detail.errors.clear()
            task.detail.more_turns = 0

    def _task_finished(self, event: Mapping[str, Any]) -> None:
        task = self._tasks.get(event["task_id"])
        if task is None:
            return
        task.summary = clip(event.get("summary") or "", 300)
        task.turns, task.checks = event.get("turns") or 0, event.get("checks") or ()
        task.answered_by, task.cost = event.get("adapter") or "", event.get("cost")
        start = self._open.pop(task.task_id, None)
        if start is not None:
            task.spans.append((start, event["time"]))

    def _model_responded(self, event: Mapping[str, Any]) -> None:
        task = self._tasks.get(event["task_id"])
        usage, milliseconds = event["usage"], float(event["duration_ms"])
        prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
        samples = self._run.samples
        answered_by = event.get("adapter") or event.get("model") or "the default model"
        self._measure("all", "all replies", milliseconds)
        self._measure("turn", f"turn {event['turn']}" if event["turn"] <= 10 else "later turns", milliseconds)
        self._measure("bundle", task.bundle if task else "", milliseconds)
        self._measure("answered by", answered_by, milliseconds)
        samples.prompt.append(prompt)
        samples.completion.append(completion)
        samples.times.append(event["time"])
        samples.cached_tokens += usage.get("cached_tokens") or 0
        if milliseconds > 0:
            samples.speed.append(completion / milliseconds * 1000)
        if task is not None and task.detail is not None:
            text = clip(event["text"], self._limits.text)
            turn = Turn(event["turn"], text, milliseconds, prompt, completion, answered_by, event["finish_reason"])
            self._add_turn(task.detail, turn)

    def _measure(self, group: str, name: str, milliseconds: float) -> None:
        known = self._run.samples.milliseconds
        many = (group, name) not in known and len(known) >= _NAMED
        self._run.samples.add(group, "others" if many else name, milliseconds)

    def _add_turn(self, detail: Detail, turn: Turn) -> None:
        if len(detail.turns) < self._limits.turns:
            detail.turns.append(turn)
        else:
            detail.more_turns += 1

    def _tool_called(self, event: Mapping[str, Any]) -> None:
        tools = self._run.tools
        name = event["tool"] if event["tool"] in tools or len(tools) < _NAMED else "others"
        tools.setdefault(name, ToolUse()).calls += 1
        turn = self._turn(event)
        if turn is not None:
            arguments = json.dumps(event["arguments"], ensure_ascii=False, indent=1)
            turn.calls.append(Call(event["call_id"], event["tool"], clip(arguments, self._limits.text)))

    def _tool_returned(self, event: Mapping[str, Any]) -> None:
        tools = self._run.tools
        use = tools.setdefault(event["tool"] if event["tool"] in tools else "others", ToolUse())
        use.errors += bool(event["is_error"])
        use.milliseconds.append(event["duration_ms"])
        turn = self._turn(event)
        open_calls = (
            one for one in (turn.calls if turn else ()) if one.call_id == event["call_id"] and not one.outcome
        )
        call = next(open_calls, None)
        if call is not None:
            call.content, call.is_error = clip(event["content"], self._limits.text), event["is_error"]
            call.outcome, call.milliseconds = event["outcome"] or "returned", event["duration_ms"]

    def _turn(self, event: Mapping[str, Any]) -> Turn | None:
        task = self._tasks.get(event["task_id"])
        if task is None or task.detail is None or task.detail.more_turns or not task.detail.turns:
            return None
        return task.detail.turns[-1]

    def _error(self, event: Mapping[str, Any]) -> None:
        task = self._tasks.get(event["task_id"])
        if task is not None and task.detail is not None:
            task.detail.errors.append(clip(event["message"], self._limits.text))

    HANDLERS: ClassVar[dict[str, Callable[[_Reading, Mapping[str, Any]], None]]] = {
        "run:started": _run_started,
        "run:planned": _run_planned,
        "run:resumed": _run_resumed,
        "run:finished": _run_finished,
        "pace:changed": _pace_changed,
        "task:started": _task_started,
        "task:finished": _task_finished,
        "model:responded": _model_responded,
        "tool:called": _tool_called,
        "tool:returned": _tool_returned,
        "error:occurred": _error,
    }

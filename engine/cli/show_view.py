"""What `engine show` prints: a run, its tasks as they stand, and the turns of those that are asked for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from engine.cli.console import count
from engine.events import TASK_STATES, LogReader, RunRecord, TaskNames, TaskRow


def choose_states(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the states that an option names, with commas or several times.

    Raises:
        click.BadParameter: There is no such state.
    """
    found = [word.strip() for text in texts for word in text.split(",") if word.strip()]
    for word in found:
        if word not in TASK_STATES:
            raise click.BadParameter(f"'{word}' is no state of a task: {', '.join(TASK_STATES)}", param_hint="--state")
    return tuple(dict.fromkeys(found))


def choose_tasks(log: LogReader, run_id: str, states: Sequence[str], pattern: str | None) -> list[TaskRow]:
    """Return the tasks of a run in one of the states (none means all) that match a glob (None means all)."""
    rows = log.tasks(run_id, states)
    return [row for row in rows if not pattern or TaskNames(row.task_id, row.file, row.node).match(pattern)]


def run_as_json(log: LogReader, run_id: str, states: Sequence[str], pattern: str | None) -> str:
    """Return a run and the chosen tasks as a JSON object."""
    record = log.run(run_id)
    assert record is not None  # noqa: S101 - its id was resolved
    tasks = [row._asdict() | {"cached": bool(row.cached)} for row in choose_tasks(log, run_id, states, pattern)]
    for task in tasks:
        del task["run_id"]
    return json.dumps(record.as_dict() | {"counts": log.task_counts(run_id), "tasks": tasks}, indent=2)


def lines_of_run(log: LogReader, run_id: str, states: Sequence[str], pattern: str | None) -> Iterator[str]:
    """Yield what came of a run: what it was, a line per task (or the turns of the matching ones), its end.

    Args:
        log: The event log.
        run_id: The run.
        states: Only tasks in one of these states; none means all, of which the planned ones are only counted.
        pattern: A glob of task ids, files or nodes; with it, each matching task is shown turn by turn.
    """
    record = log.run(run_id)
    assert record is not None  # noqa: S101 - its id was resolved
    yield from _head(log, record)
    rows = choose_tasks(log, run_id, states, pattern)
    if pattern:
        yield from _turns(log, run_id, rows)
    else:
        yield from _tasks(log, run_id, rows, counted=() if states else ("planned",))
    yield from _end(record)


def _head(log: LogReader, record: RunRecord) -> Iterator[str]:
    names = (", ".join(map(str, record.summary.get(key, ()))) for key in ("bundles", "targets"))
    yield f"run {record.run_id}: {' on '.join(names)}"
    for event in log.events(record.run_id, limit=20):
        if event["type"] == "run:planned":
            nodes, files = count(event["nodes"], "node"), count(event["files"], "file")
            yield f"{count(event['tasks'], 'task')} on {nodes} of {files}"


def _end(record: RunRecord) -> Iterator[str]:
    end = record.summary
    if record.ended is None or "status" not in end:
        yield record.status
        return
    tokens = end["usage"]["prompt_tokens"] + end["usage"]["completion_tokens"]
    counts = [f"{end.get(key, 0)} {key}" for key in ("finished", "failed", "stopped")]
    counts.append(count(end.get("changes", 0), "change"))
    counts += [f"{end[key]} {key}" for key in ("skipped", "cached") if end.get(key)]
    yield f"{record.status}: {', '.join(counts)}; {tokens} tokens; {end['seconds']:.1f} s"


def _tasks(log: LogReader, run_id: str, rows: Sequence[TaskRow], counted: Sequence[str]) -> Iterator[str]:
    # What a task said about itself is only in its last event: those are looked through when somebody wants to know.
    said = log.task_summaries(run_id) if any(row.state == "finished" for row in rows) else {}
    for row in rows:
        if row.state not in counted:
            yield task_line(row, said.get(row.task_id, ""))
    for state, number in Counter(row.state for row in rows if row.state in counted).items():
        yield f"{state:8}  {count(number, 'task')}"


def task_line(row: TaskRow, summary: str = "") -> str:
    """Return a task as it stands as a line."""
    words = " ".join((row.error or summary or row.reason).split())
    tries = f"  ({row.attempts} attempts)" if row.attempts > 1 else ""
    return f"{row.state:8}  {row.task_id}  {row.file}:{row.line} {row.node}  {words}".rstrip() + tries


def _turns(log: LogReader, run_id: str, rows: Sequence[TaskRow]) -> Iterator[str]:
    known = {row.task_id: row for row in rows}
    for event in log.task_events(run_id, list(known)):
        if event["type"] == "task:finished":
            yield task_line(known[event["task_id"]], event["summary"])
        else:
            yield from turn_lines(event)


def turn_lines(event: Mapping[str, Any]) -> Iterator[str]:
    """Yield one event inside a task."""
    kind = event["type"]
    if kind == "model:requested":
        yield f"  turn {event['turn']}: model {event['model'] or 'default'}, adapter {event['adapter'] or 'none'}"
        for message in event["messages"]:
            yield f"    [{message['role']}]"
            yield from (f"      {line}" for line in str(message["content"]).splitlines())
    elif kind == "model:responded":
        usage = event["usage"]
        yield f"    [reply, {usage['completion_tokens']} tokens, {event['duration_ms']:.0f} ms]"
        yield from (f"      {line}" for line in event["text"].splitlines())
    elif kind == "tool:returned":
        yield f"    [{event['tool']}, {'error' if event['is_error'] else event['outcome']}] {event['content']}"
    elif kind == "change:offered":
        yield f"  change: {event['file']} +{event['added']} -{event['removed']}"
    elif kind == "change:decided":
        yield f"  {event['decision']}: {event['file']} {event['reason']}".rstrip()

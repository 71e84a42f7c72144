"""The lines of `engine show`."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.cli.console import count


def lines_of_run(events: Iterable[Mapping[str, Any]], pattern: str | None) -> Iterator[str]:
    """Yield what came of a run: its settings, a line per task (or the turns of the matching ones), its end.

    Args:
        events: The run's events as JSON values, in order.
        pattern: A glob of task ids, files or nodes; with it, each matching task is shown turn by turn.
    """
    shown: set[str] = set()
    for event in events:
        kind = event["type"]
        if kind == "run:started":
            yield f"run {event['run_id']}: {', '.join(event['bundles'])} on {', '.join(event['targets'])}"
        elif kind == "run:planned":
            nodes, files = count(event["nodes"], "node"), count(event["files"], "file")
            yield f"{count(event['tasks'], 'task')} on {nodes} of {files}"
        elif kind == "task:started" and pattern and matches(event, pattern):
            shown.add(event["task_id"])
        elif kind == "task:finished" and (not pattern or event["task_id"] in shown):
            yield task_line(event)
        elif kind == "run:finished":
            tokens = event["usage"]["prompt_tokens"] + event["usage"]["completion_tokens"]
            counts = ", ".join(f"{event[key]} {key}" for key in ("finished", "failed", "stopped", "changes"))
            yield f"{event['status']}: {counts}; {tokens} tokens; {event['seconds']:.1f} s"
        elif event["task_id"] in shown:
            yield from turn_lines(event)


def matches(event: Mapping[str, Any], pattern: str) -> bool:
    """Whether a task's id, file, node or `file::node` matches a glob."""
    names = (event["task_id"], event["file"], event["node"], f"{event['file']}::{event['node']}")
    return any(fnmatch.fnmatchcase(name, pattern) for name in names)


def task_line(event: Mapping[str, Any]) -> str:
    """Return a finished task as a line."""
    words = " ".join((event["error"] or event["summary"] or event["reason"]).split())
    return f"{event['outcome']:8}  {event['task_id']}  {event['file']}:{event['line']} {event['node']}  {words}"


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

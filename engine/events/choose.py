"""Which events somebody wants to see: by their type, and by their task."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from engine.events.reader import LogReader


class TaskNames(NamedTuple):
    """What a task can be named by."""

    task_id: str
    file: str
    node: str

    def match(self, pattern: str) -> bool:
        """Whether the task's id, file, node or `file::node` matches a glob."""
        return any(fnmatchcase(name, pattern) for name in (*self, f"{self.file}::{self.node}"))


class EventFilter:
    """Tells the events of a run that are wanted.

    Args:
        reader: The event log, which knows the tasks by name.
        types: Globs of event types, such as `task:*`; an event matches one of them. None means all.
        tasks: Globs of task ids, files, nodes or `file::node`; events of the whole run are then left out. None means
            all.
    """

    def __init__(self, reader: LogReader, types: tuple[str, ...] = (), tasks: tuple[str, ...] = ()) -> None:
        self._reader, self._types, self._tasks = reader, types, tasks
        self._seen: dict[str, bool] = {}

    def __call__(self, event: Mapping[str, Any]) -> bool:
        """Whether an event, as `event_to_json` writes it, is wanted."""
        if self._types and not any(fnmatchcase(event["type"], pattern) for pattern in self._types):
            return False
        return not self._tasks or self._wanted(event)

    def _wanted(self, event: Mapping[str, Any]) -> bool:
        task_id = event["task_id"]
        if not task_id:
            return False
        if task_id not in self._seen:
            row = self._reader.task(event["run_id"], task_id)
            names = TaskNames(task_id, row.file, row.node) if row else TaskNames(task_id, "", "")
            self._seen[task_id] = any(names.match(pattern) for pattern in self._tasks)
        return self._seen[task_id]

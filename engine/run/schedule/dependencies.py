"""Which tasks wait for which: `after` of engine.yaml's operations, on the same node or one inside the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from engine.events import TaskRow
from engine.run.plan import Assignment, Task


def predecessors(assignments: Iterable[Assignment]) -> dict[str, frozenset[str]]:
    """Return, for each operation, all that come before it: those it names, those that they name, and so on.

    An operation of whose assignment nothing is known hands nothing on.
    """
    after = {one.operation: one.after for one in assignments if one.operation}
    found: dict[str, frozenset[str]] = {}

    def collect(name: str) -> frozenset[str]:
        if name not in found:
            found[name] = frozenset()  # a circle, which engine.yaml may not have, ends here
            found[name] = frozenset().union(*({other} | collect(other) for other in after.get(name, ())))
        return found[name]

    for name in after:
        collect(name)
    return found


def urgency(assignments: Sequence[Assignment], before: Mapping[str, frozenset[str]]) -> list[int]:
    """Return each assignment's level, 0 first: its own priority, or that of one which waits for it, if that is higher.

    Without it a task of high priority would wait for all of normal priority, where it comes after one of low priority.
    """
    own = [_LEVELS[one.priority] for one in assignments]
    return [
        min(
            [
                level,
                *(own[at] for at, other in enumerate(assignments) if one.operation in before.get(other.operation, ())),
            ]
        )
        for level, one in zip(own, assignments, strict=True)
    ]


_LEVELS = {"high": 0, "normal": 1, "low": 2}


def dependencies(tasks: Sequence[Task], before: Mapping[str, frozenset[str]]) -> Iterator[tuple[int, int]]:
    """Yield the pairs (first, then) of places in `tasks`.

    A task waits for those of the operations before its own whose node is the same, is around its node, or inside it.

    Args:
        tasks: The tasks.
        before: For each operation all that come before it.
    """
    involved = {name for name, others in before.items() if others}.union(*before.values())
    files: dict[str, list[int]] = {}
    for at, task in enumerate(tasks):
        if task.assignment.operation in involved:
            files.setdefault(task.node.file_path, []).append(at)
    for places in files.values():
        for one, other in _nested(tasks, places):
            first, then = tasks[one].assignment.operation, tasks[other].assignment.operation
            if first in before[then]:
                yield one, other
            elif then in before[first]:
                yield other, one


def _nested(tasks: Sequence[Task], places: list[int]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of tasks of one file whose nodes are the same, or one is inside the other."""
    places.sort(key=lambda at: (tasks[at].node.start_byte, -tasks[at].node.end_byte))
    around: list[int] = []
    for at in places:
        node = tasks[at].node
        while around and tasks[around[-1]].node.end_byte <= node.start_byte:
            around.pop()
        for outer in around:
            if tasks[outer].node.end_byte > node.start_byte:
                yield outer, at
        around.append(at)


def lost_tasks(
    tasks: Sequence[Task], before: Mapping[str, frozenset[str]], earlier: Iterable[TaskRow]
) -> dict[int, TaskRow]:
    """Return the tasks, by their places, that come after one which ended earlier and did not finish.

    What was inside what is told by the names of the nodes: a row does not say where its node ended.

    Args:
        tasks: The tasks that are left.
        before: For each operation all that come before it.
        earlier: The rows of the tasks that ended.
    """
    first = frozenset().union(*before.values())
    files: dict[str, list[TaskRow]] = {}
    for row in earlier:
        if row.state != "finished" and row.operation in first:
            files.setdefault(row.file, []).append(row)
    found: dict[int, TaskRow] = {}
    for at, task in enumerate(tasks if files else ()):
        names = before.get(task.assignment.operation, frozenset())
        rows = files.get(task.node.file_path, ()) if names else ()
        lost = next((row for row in rows if row.operation in names and meets(row, task)), None)
        if lost is not None:
            found[at] = lost
    return found


def meets(row: TaskRow, task: Task) -> bool:
    """Whether the node of an earlier task, of the same file, is a task's node, around it or inside it."""
    node = task.node
    if row.node_id == node.node_id or "file" in (row.type, node.type):
        return True
    return f"{row.node}.".startswith(f"{node.qualified_name}.") or f"{node.qualified_name}.".startswith(f"{row.node}.")

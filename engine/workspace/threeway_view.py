"""How a person reads a change whose file was edited meanwhile: a diff from the file now, or the three sides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from engine.workspace.change import Change
from engine.workspace.threeway import Stretch, merge

_CONTEXT = 3
LIVE, BASE = "the file now", "what the task read"


def three_way_diff(change: Change, live: bytes | None, task_id: str) -> str:
    """Return what accepting a change would do to the file as it is now, or where that is not clear, and why.

    A conflict is shown with its three sides, each under a line that names it.

    Args:
        change: The change.
        live: The file's bytes now.
        task_id: The task that offers it.
    """
    if live in (change.before, change.after):
        return change.diff()
    merged = merge(change.before, live, change.after)
    if merged.content is not None:
        return Change(change.path, live, merged.content, change.mode).diff()
    if not merged.stretches:
        return f"# {change.path} is another one now, and {merged.why}\n{change.diff()}"
    head = f"# {change.path}: {merged.why}\n"
    return head + "".join(conflict_lines(merged.stretches, f"task {task_id}"))


def conflict_lines(stretches: Sequence[Stretch], task: str) -> Iterator[str]:
    """Yield the lines around and in each stretch that is not the same on all sides; each ends with a newline."""
    for index, stretch in enumerate(stretches):
        same = stretch.base == stretch.live == stretch.task
        if same:
            near = _near(stretch, first=index == 0, last=index == len(stretches) - 1)
            yield from near
        elif stretch.conflict:
            yield f"<<<<<<< {LIVE}\n"
            yield from _texts(" ", stretch.live)
            yield f"||||||| {BASE}, from line {stretch.start + 1}\n"
            yield from _texts(" ", stretch.base)
            yield "=======\n"
            yield from _texts(" ", stretch.task)
            yield f">>>>>>> {task}\n"
        else:
            # What the file has already needs no decision; what only the task changed goes in.
            done = stretch.live != stretch.base
            yield from _texts(" ", stretch.live) if done else _texts("-", stretch.base)
            yield from () if done else _texts("+", stretch.task)


def _near(stretch: Stretch, *, first: bool, last: bool) -> Iterator[str]:
    lines = stretch.base
    head = 0 if first else min(_CONTEXT, len(lines))
    tail = len(lines) if last else max(head, len(lines) - _CONTEXT)
    yield from _texts(" ", lines[:head])
    if tail > head:
        yield f"@@ {tail - head} lines that nobody changed @@\n"
    yield from _texts(" ", lines[tail:])


def _texts(sign: str, lines: Iterable[bytes]) -> Iterator[str]:
    for line in lines:
        text = line.decode("utf-8", "replace")
        yield f"{sign}{text}" if text.endswith("\n") else f"{sign}{text}\n\\ No newline at end of file\n"

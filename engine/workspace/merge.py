"""What accepting a change means for the file as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.workspace.change import Change
from engine.workspace.lines import apply_edits, collision, split_lines


@dataclass(frozen=True, slots=True)
class Resolution:
    """What to do.

    Attributes:
        action: Write `content` (None deletes the file); nothing, because it is so already; or report a collision with a
            change that was accepted before, or an edit that somebody else made.
        content: What to write.
        alone: The file then holds this change only; changes that were accepted before are not in it.
    """

    action: Literal["write", "done", "collides", "changed"]
    content: bytes | None = None
    alone: bool = False


def resolve(change: Change, live: bytes | None, accepted: Sequence[Change]) -> Resolution:
    """Decide how a change goes into the file.

    The file may hold exactly what the task saw, or that plus the accepted changes that started from the same content;
    then edits of other lines go in beside them, in whatever order.

    Args:
        change: The change.
        live: The file's bytes now, None when it does not exist.
        accepted: Changes of the same file and with the same `before` that are in the file.
    """
    is_expected = bool(accepted) and _merged(accepted) == (live,)
    if live == change.after:
        return Resolution("done", alone=not is_expected or _merged([*accepted, change]) != (live,))
    if live == change.before:
        return Resolution("write", change.after, alone=True)
    if not is_expected:
        return Resolution("changed")
    merged = _merged([*accepted, change])
    return Resolution("write", merged[0]) if merged is not None else Resolution("collides")


def _merged(changes: Sequence[Change]) -> tuple[bytes | None] | None:
    """Return the one content that holds all changes of one `before`, or None when they collide."""
    results = {change.after for change in changes}
    if len(results) == 1:
        return (changes[0].after,)
    before = changes[0].before
    if before is None or None in results:
        return None
    edits = [edit for change in changes for edit in change.edits]
    if collision(edits) is not None:
        return None
    return (apply_edits(split_lines(before), edits),)

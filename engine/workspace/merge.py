"""What accepting a change, or taking it out again, means for the file as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from engine.workspace.change import Change
from engine.workspace.pieces import compatible, compose, fits, pieces
from engine.workspace.threeway import merge


@dataclass(frozen=True, slots=True)
class Resolution:
    """What to do.

    Attributes:
        action: Write `content` (None deletes the file); nothing, because it is so already; or report a collision with a
            change that was accepted before, or an edit that somebody else made.
        content: What to write.
        alone: The file then holds this change only; changes that were accepted before are not in it.
        merged: The file then also holds what somebody else, or a change that started from another content, made of it.
    """

    action: Literal["write", "done", "collides", "changed"]
    content: bytes | None = None
    alone: bool = False
    merged: bool = False


def resolve(change: Change, live: bytes | None, accepted: Sequence[Change], *, three_way: bool = False) -> Resolution:
    """Decide how a change goes into the file.

    The file may hold exactly what the task saw, or that plus the accepted changes that started from the same content;
    then edits of other nodes or lines go in beside them, in whatever order.

    Args:
        change: The change.
        live: The file's bytes now, None when it does not exist.
        accepted: Changes of the same file and with the same `before` that are in the file.
        three_way: Where somebody else edited the file, bring the change in beside that, if they don't touch.
    """
    is_expected = composed(accepted) == (live,)
    if live == change.after:
        return Resolution("done", alone=not is_expected or _joined(accepted, change) != (live,))
    if live == change.before:
        return Resolution("write", change.after, alone=True)
    if is_expected:
        joined = _joined(accepted, change)
        return Resolution("write", joined[0]) if joined is not None else Resolution("collides")
    clean = merge(change.before, live, change.after).content if three_way else None
    if clean is None:
        return Resolution("changed")
    return Resolution("done" if clean == live else "write", clean, merged=True)


def resolve_undo(change: Change, live: bytes | None, others: Sequence[Change], was: Sequence[Change]) -> Resolution:
    """Decide how an accepted change goes out of the file.

    It goes without a trace where the file is as accepting left it; else what it did is taken back where nobody changed
    the same lines since.

    Args:
        change: The change.
        live: The file's bytes now.
        others: The other changes in the file that started from the same content.
        was: The file around the change when it was accepted, as changes from after to before, where that is known.
    """
    ways = [*was, Change(change.path, change.after, change.before)]
    whole, left = composed([*others, change]), composed(others) if others else (change.before,)
    if whole is not None and left is not None:
        ways.insert(0 if whole == (live,) else len(was), Change(change.path, whole[0], left[0]))
    for back in ways:
        if live in (back.before, back.after):
            return _taken_out(back.after, live)
        clean = merge(back.before, live, back.after).content
        if clean is not None:
            return _taken_out(clean, live)
    return Resolution("changed")


def composed(changes: Sequence[Change]) -> tuple[bytes | None] | None:
    """Return the one content that holds all changes of one `before`; None when they overlap, or there are none."""
    if not changes:
        return None
    results = {change.after for change in changes}
    if len(results) == 1:
        return (changes[0].after,)
    before = changes[0].before
    if before is None or None in results:
        return None
    all_pieces = [piece for change in changes for piece in pieces(change)]
    return (compose(before, all_pieces),) if fits(all_pieces) else None


def _joined(accepted: Sequence[Change], change: Change) -> tuple[bytes | None] | None:
    """Return the content that holds the accepted changes and one more, or None when it cannot stand beside them."""
    if any(other.after is None or other.before is None for other in (*accepted, change)):
        return composed([*accepted, change])
    return composed([*accepted, change]) if all(compatible(other, change) for other in accepted) else None


def _taken_out(content: bytes | None, live: bytes | None) -> Resolution:
    return Resolution("done") if content == live else Resolution("write", content)

"""What a reviewer says to the model: it follows the user's message, beside what the first try came to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from engine.messages import Message

_LONGEST = 8000  # characters of the first try's diff; more would push the task itself out of small contexts


def note_text(note: str, diffs: Iterable[str]) -> str:
    """Return what the model reads.

    Args:
        note: What the reviewer says.
        diffs: The changes of the first try.
    """
    tried = "".join(diffs).strip("\n")
    if len(tried) > _LONGEST:
        tried = f"{tried[:_LONGEST]}\n… {len(tried) - _LONGEST} more characters"
    shown = f"This was tried before, and a reviewer did not take it:\n\n{tried}\n\n" if tried else ""
    return f"{shown}The reviewer says: {note.strip()}"


def with_note(messages: Sequence[Message], note: str) -> list[Message]:
    """Return the first messages of a task with the note at the end of the last one of the user."""
    result = list(messages)
    last = next((place for place in reversed(range(len(result))) if result[place].role == "user"), None)
    if not note:
        return result
    if last is None:
        return [*result, Message("user", note)]
    result[last] = replace(result[last], content=f"{(result[last].content or '').rstrip()}\n\n{note}")
    return result

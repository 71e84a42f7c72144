"""What the cache says about a task before it runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from engine.messages import Usage


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored result that holds for a task, since nothing that determines it has changed.

    Attributes:
        key: The digest of what determined it, hex.
        entry: Its number in the cache.
        usage: Tokens of the first time: what it saves.
        seconds: Time that it took the first time.
        stored: When it was stored, in seconds since 1970 UTC.
    """

    key: str
    entry: int
    usage: Usage
    seconds: float
    stored: float


def saved(hits: Iterable[Hit]) -> Usage:
    """Return the tokens that need not be asked for again."""
    return sum((hit.usage for hit in hits), Usage())

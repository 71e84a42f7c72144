"""What a run used, added up beside its events: of every try of its tasks, also of those that came to nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from operator import add
from typing import Any, NamedTuple, Self

from engine.events.types import Event, ModelResponded, ReplyLost, ToolCalled
from engine.messages import Usage

_PARTS = 10**12  # costs are added up in whole millionths of a millionth, so that the order does not matter
# A server may say anything: the most of one reply, and of what SQLite holds.
_MOST, _MOST_PARTS, _HELD = 2**53, 2**60, 2**63 - 1


class Used(NamedTuple):
    """What the requests and tool calls of a run used; a row of the table `used`.

    Every reply counts once, whatever became of its task: of tasks that were tried again, broken off or done once more
    with a note, too. What comes from the cache is none.

    Attributes:
        prompt_tokens: Of all replies.
        completion_tokens: Of all replies.
        cached_tokens: Prompt tokens that the server had cached.
        parts: What they cost, in millionths of a millionth of the currency, as far as prices are declared.
        unpriced: How many replies had no declared price.
        tool_calls: Tool calls that were begun.
        lost_tokens: What requests used at most that got no reply and may have been charged: a budget counts it, too.
        lost_parts: What that cost at most.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    parts: int = 0
    unpriced: int = 0
    tool_calls: int = 0
    lost_tokens: int = 0
    lost_parts: int = 0

    @property
    def usage(self) -> Usage:
        """The tokens."""
        return Usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens)

    @property
    def cost(self) -> float | None:
        """What the replies cost; None where the price of one is not declared."""
        return None if self.unpriced else self.parts / _PARTS

    @property
    def charged_tokens(self) -> int:
        """The tokens that a budget counts."""
        return self.usage.total_tokens + self.lost_tokens

    @property
    def charged_parts(self) -> int:
        """The cost that a budget counts, in parts."""
        return self.parts + self.lost_parts

    @property
    def charged_cost(self) -> float | None:
        """The cost that a budget counts; None where the price of a reply is not declared."""
        return None if self.unpriced else self.charged_parts / _PARTS

    def plus(self, other: Used) -> Self:
        """Return both together."""
        return type(self)(*map(add, self, other))


_ADD = (
    f"INSERT INTO used (run_id, {', '.join(Used._fields)}) VALUES (?{', ?' * len(Used._fields)})"  # noqa: S608 - ours
    f" ON CONFLICT (run_id) DO UPDATE SET {', '.join(f'{name} = {name} + excluded.{name}' for name in Used._fields)}"
)
COLUMNS = ", ".join(f"used.{name}" for name in Used._fields)
"""The columns of the table `used` in the order of Used."""

NOTHING = Used()
"""What a run used that called nobody."""

_CALL = Used(tool_calls=1)


def used_by(event: Event) -> Used | None:
    """Return what an event says was used; None for one that says nothing of it."""
    use = _USES.get(type(event))
    return None if use is None else use(event)


def replied(usage: Usage, cost: float | None) -> Used:
    """Return what a reply used."""
    return Used(
        min(usage.prompt_tokens, _MOST),
        min(usage.completion_tokens, _MOST),
        min(usage.cached_tokens, _MOST),
        _parts(cost),
        int(cost is None and usage.total_tokens > 0),
    )


def lost(usage: Usage, cost: float | None) -> Used:
    """Return what a request used at most that got no reply."""
    return Used(lost_tokens=min(usage.total_tokens, _MOST), lost_parts=_parts(cost))


def _parts(cost: float | None) -> int:
    return 0 if cost is None else round(min(cost * _PARTS, _MOST_PARTS))


_USES: Mapping[type[Event], Callable[[Any], Used]] = {
    ModelResponded: lambda event: replied(event.usage, event.cost),
    ReplyLost: lambda event: lost(event.usage, event.cost),
    ToolCalled: lambda _: _CALL,
}


class Using(NamedTuple):
    """Something that a run used, to be added to its sums."""

    run_id: str
    used: Used


def store(connection: sqlite3.Connection, items: Iterable[Using]) -> None:
    """Add to the sums of runs, inside the caller's transaction: one row each, however many items there are."""
    sums: dict[str, Used] = {}
    for run_id, used in items:
        known = sums.get(run_id)
        sums[run_id] = used if known is None else known.plus(used)
    connection.executemany(_ADD, ((run_id, *(min(value, _HELD) for value in used)) for run_id, used in sums.items()))


# What the events of earlier runs tell; a row whose data cannot be read counts nothing.
USED_BEFORE = """
    INSERT INTO used
    SELECT run_id, total(prompt) FILTER (WHERE replied), total(completion) FILTER (WHERE replied),
        total(cached) FILTER (WHERE replied), total(round(cost * 1e12)) FILTER (WHERE replied),
        total(replied AND cost IS NULL AND prompt + completion > 0), total(type = 'tool:called'),
        total(prompt + completion) FILTER (WHERE NOT replied), total(round(cost * 1e12)) FILTER (WHERE NOT replied)
    FROM (
        SELECT run_id, type, type = 'model:responded' AS replied,
            coalesce(data ->> '$.usage.prompt_tokens', 0) AS prompt,
            coalesce(data ->> '$.usage.completion_tokens', 0) AS completion,
            coalesce(data ->> '$.usage.cached_tokens', 0) AS cached, data ->> 'cost' AS cost
        FROM events WHERE type IN ('model:responded', 'model:lost', 'tool:called') AND json_valid(data)
    ) GROUP BY run_id
"""
"""Fills the table in a file of an earlier version."""

TABLE = """CREATE TABLE used (
    run_id TEXT PRIMARY KEY, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL, parts INTEGER NOT NULL, unpriced INTEGER NOT NULL, tool_calls INTEGER NOT NULL,
    lost_tokens INTEGER NOT NULL, lost_parts INTEGER NOT NULL
) WITHOUT ROWID"""

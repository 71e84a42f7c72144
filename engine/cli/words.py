"""Numbers and times in words, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.run.tally import Tally

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def duration(seconds: float) -> str:
    """Return a time in words, as exact as one wants to know it: `9.4 s`, `48 s`, `12 min`, `2 h 10 min`, `3 d 4 h`."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(round(seconds / _HOUR), 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def clock(seconds: float) -> str:
    """Return a time as a clock shows it: `0:42`, `12:05`, `2:10:00`."""
    minutes, seconds = divmod(int(max(0.0, seconds)), _MINUTE)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def short(number: float) -> str:
    """Return a number in few characters: `950`, `12.3k`, `4.2M`."""
    for unit, size in (("", 1), ("k", 1000), ("M", 10**6), ("G", 10**9)):
        if abs(number) < 999.5 * size or unit == "G":
            value = number / size
            return f"{value:.0f}{unit}" if not unit or value >= 99.95 else f"{value:.1f}{unit}"
    raise AssertionError


def left(tally: Tally, now: float) -> str:
    """Say how much longer a run takes."""
    seconds = tally.seconds_left(now)
    if seconds is None:
        return "time left unknown until the first tasks are done"
    if seconds:
        return f"about {duration(seconds)} left"
    undone = tally.total - tally.done + tally.broken_off if tally.is_over else 0
    return f"{undone} left to do" if undone > 0 else "done"


def outcomes(tally: Tally) -> str:
    """Say how many tasks ended how."""
    parts = [f"{number} {outcome}" for outcome, number in sorted(tally.counts.items(), key=_order) if number]
    cached = [f"{tally.cached} from the cache"] if tally.cached else []
    return ", ".join(parts + cached) or "none done"


def _order(item: tuple[str, int]) -> tuple[bool, str]:
    return item[0] != "finished", item[0]


def rates(tally: Tally, now: float) -> str:
    """Say how fast a run goes on."""
    tasks, tokens = tally.tasks_per_second(now), tally.tokens_per_second(now)
    per_minute = "" if tasks is None else f"{tasks * 60:.1f} tasks/min" if tasks < 1 else f"{tasks * 60:.0f} tasks/min"
    per_second = "" if tokens is None else f"{short(tokens)} tokens/s"
    return ", ".join(part for part in (per_minute, per_second) if part)


def spending(tally: Tally) -> str:
    """Say what a run used, and how much of its budget that is."""
    tokens = tally.used.usage.total_tokens
    parts = [f"{short(tokens)} tokens"]
    if tally.cost is not None:
        parts.append(f"cost {tally.cost:.4g}")
    budget: Mapping[str, Any] = tally.settings.get("budget") or {}
    # What may have been charged without a reply counts against a budget, too.
    charged = tally.used
    used = {"tokens": charged.charged_tokens, "cost": charged.charged_cost, "tool_calls": charged.tool_calls}
    shares = [
        f"{amount / budget[kind]:.0%} of {short(budget[kind])} {kind.replace('_', ' ')}"
        for kind, amount in used.items()
        if amount is not None and budget.get(kind)
    ]
    return ", ".join(parts) + (f" (budget: {', '.join(shares)})" if shares else "")

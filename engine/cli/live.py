"""A run on a terminal: one frame of the live view, drawn from a tally."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.text import Text

from engine.cli.console import printable
from engine.cli.words import clock, duration, left, outcomes, rates, spending

if TYPE_CHECKING:
    from engine.run.flights import Flight
    from engine.run.tally import Tally

FRAMES = 5
"""Frames a second, at most."""

_FLIGHTS = 16
_WIDEST_BAR = 32


def frame(tally: Tally, now: float, console: Console, *, title: str = "", endings: int = 0) -> Group:
    """Draw how a run stands, no wider and no higher than the terminal.

    Args:
        tally: The run.
        now: The time, in seconds since 1970.
        console: The terminal.
        title: A line above, such as the run's id.
        endings: How many of the newest tasks are shown that did not finish.
    """
    width, height = console.size
    plain = console.options.ascii_only
    rows = [Text(title, style="bold")] if title else []
    rows.append(_progress(tally, now, width, bar=console.is_terminal, plain=plain))
    rows.append(Text(f"{outcomes(tally)}; {', '.join(filter(None, (rates(tally, now), spending(tally))))}"))
    if tally.pace is not None:
        limit, reason = tally.pace
        pace = f"{limit} requests at once" if limit else "resting"
        rows.append(Text(f"pace: {pace}: {_one_line(reason)}", style="yellow"))
    shown = list(tally.endings)[max(0, len(tally.endings) - endings) :]
    rows += [_ending(one.outcome, f"{one.bundle} {one.place}: {one.error}") for one in shown]
    rows += _flights(tally, now, min(_FLIGHTS, height - len(rows) - 2))
    for row in rows:
        row.no_wrap, row.overflow = True, "crop" if plain else "ellipsis"
    return Group(*rows[: max(1, height - 1)])


def _progress(tally: Tally, now: float, width: int, *, bar: bool, plain: bool) -> Text:
    total, done = tally.total, tally.done - tally.broken_off
    share = done / total if total else 0.0
    elapsed = clock(tally.clock(now) - tally.started) if tally.started is not None else clock(0)
    words = f"{done}/{total} tasks, {share:.0%}, {elapsed}, {left(tally, now)}" if total else f"planning, {elapsed}"
    cells = max(0, min(_WIDEST_BAR, width - len(words) - 2)) if bar else 0
    full = round(share * cells)
    row = Text()
    if cells >= 8:
        row.append(("#" if plain else "━") * full, style="green")
        row.append(("-" if plain else "─") * (cells - full), style="bright_black")
        row.append(" ")
    return row.append(words)


def _flights(tally: Tally, now: float, most: int) -> Iterator[Text]:
    flights = list(tally.flights.values())
    shown = flights if len(flights) <= most else flights[: max(0, most - 1)]
    for flight in shown:
        yield _flight(flight, now)
    if len(flights) > len(shown):
        yield Text(f"  and {len(flights) - len(shown)} more tasks", style="dim")


def _flight(flight: Flight, now: float) -> Text:
    # Its words come first: the place may be as long as it likes.
    turn = f"turn {flight.turn} " if flight.turn else ""
    since = f" {duration(now - flight.since)}" if flight.since else ""
    row = Text("  ")
    row.append(f"{turn}{_one_line(flight.doing)}{since}".ljust(34), style="cyan")
    return row.append(f" {_one_line(flight.bundle)} {_one_line(flight.place)}")


def _ending(outcome: str, words: str) -> Text:
    row = Text()
    row.append(outcome, style="red" if outcome == "failed" else "yellow")
    return row.append(f" {_one_line(words)}")


def _one_line(text: str) -> str:
    """Return a text of others as one harmless line, cut to what any terminal can show."""
    return printable(" ".join(text[:1000].split()))

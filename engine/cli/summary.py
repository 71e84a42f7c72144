"""What came of a run, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from engine.cli.console import count, printable
from engine.cli.words import duration
from engine.run import RunResult

_OUTCOMES = ("finished", "failed", "stopped", "skipped", "parked")


def print_summary(result: RunResult, root: Path, *, saved: int) -> None:
    """Print what came of a run, on stdout.

    Args:
        result: The run's result.
        root: The project's root.
        saved: Tokens that the cache saved.
    """
    click.echo(f"run {result.run_id}: {_outcomes(result)}; {_offered(result)}; {_used(result, saved)}")
    for decision in result.decisions:
        if decision.state != "accepted":
            click.echo(printable(f"{decision.state}: {decision.path}: {decision.reason}"))
    if result.decisions:
        accepted = sum(decision.state == "accepted" for decision in result.decisions)
        click.echo(f"{count(accepted, 'change')} accepted")
    for line in _next(result, "" if root == Path.cwd() else f" --project {root}"):
        click.echo(printable(line))


def _outcomes(result: RunResult) -> str:
    counts = {outcome: result.count(outcome) for outcome in _OUTCOMES}
    cached = result.earlier.cached + sum(task.cached for task in result.tasks)
    parts = [f"{number} {outcome}" for outcome, number in counts.items() if number or outcome == "finished"]
    if cached:
        parts[0] += f" ({cached} from the cache)"
    return ", ".join(parts)


def _offered(result: RunResult) -> str:
    failing = sum(len(task.changes) for task in result.tasks if task.reason == "checks")
    marked = f", {failing} not passing their checks" if failing else ""
    return f"{count(result.change_count, 'change')} offered{marked}"


def _used(result: RunResult, saved: int) -> str:
    kept = f" ({saved} saved by the cache)" if saved else ""
    cost = "" if result.cost is None else f", cost {result.cost:.6g}"
    seconds = f"{result.seconds:.1f} s" if result.seconds < 100 else duration(result.seconds)
    return f"{count(result.usage.total_tokens, 'token')}{kept}{cost}; {seconds}"


def _next(result: RunResult, where: str) -> Iterator[str]:
    """Yield the commands that fit what came of it."""
    if result.change_count and not result.decisions:
        verbs = (("look", "diff"), ("decide", "review"), ("take", "accept"), ("drop", "reject"))
        yield "    ".join(f"{word}: engine {verb}{where}" for word, verb in verbs)
    if result.count("failed"):
        yield f"what failed: engine show --state failed{where}"

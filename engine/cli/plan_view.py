"""What a run is going to do, before it does it: `engine run --dry-run`, and the first lines of each run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.cli.console import count, note, printable
from engine.cli.words import duration, short
from engine.run import Plan, Task
from engine.run.estimate import Count, Estimate, Group

if TYPE_CHECKING:
    from engine.run.measured import Measured

LISTED = 50
"""More tasks are not listed one by one, unless that is asked for."""


def note_plan(estimate: Estimate, concurrency: int) -> None:
    """Say at a run's start what it is going to take."""
    for line in plan_lines(estimate, concurrency):
        note(line)


def plan_lines(estimate: Estimate, concurrency: int) -> list[str]:
    """Return what a run takes, in a few lines for people."""
    if not estimate.tasks:
        return []
    return [
        printable(line)
        for line in (f"plan: {_kinds(estimate)}; {_tokens(estimate)}", _cache(estimate), *_time(estimate, concurrency))
        if line
    ]


def print_plan(plan: Plan, counts: Mapping[str, Count], estimate: Estimate, *, concurrency: int, every: bool) -> None:
    """Print a line per task and the sums, on stdout.

    Args:
        plan: The plan.
        counts: The first prompt of each task, by its id.
        estimate: What the run takes.
        concurrency: Tasks at once.
        every: List every task, however many there are.
    """
    tasks = plan.tasks if every or len(plan.tasks) <= LISTED else plan.tasks[:LISTED]
    for task in tasks:
        node = task.node
        tokens = "cached" if task.task_id in plan.cached else counts[task.task_id].tokens
        place = f"{node.file_path}:{node.start_line}  {node.type} {node.qualified_name}"
        click.echo(printable(f"{task.assignment.name}  {place}  {tokens}"))
    if len(tasks) < len(plan.tasks):
        click.echo(f"and {len(plan.tasks) - len(tasks)} more: --all lists them")
    groups = Counter(counts[task.task_id].adapter for task in plan.tasks if task.task_id in counts)
    if set(groups) - {None}:
        shares = [f"{number} with {name}" if name else f"{number} without" for name, number in groups.items()]
        click.echo(printable(f"adapters in the first turns, one after the other: {', '.join(shares)}"))
    kinds = _kinds(estimate)
    click.echo(printable(f"{count(estimate.tasks, 'task')}{': ' + kinds if kinds else ''}; {_tokens(estimate)}"))
    for line in (_cache(estimate), *_time(estimate, concurrency)):
        if line and estimate.tasks:
            click.echo(printable(line))


def print_json(plan: Plan, counts: Mapping[str, Count], estimate: Estimate) -> None:
    """Print the plan as one JSON object."""
    rows = [_row(task, plan, counts) for task in plan.tasks]
    measured = {
        name: {
            "run_id": one.run_id,
            "tasks": one.tasks,
            "median_seconds": round(one.median, 3),
            "tokens_per_second": round(one.tokens_per_second, 3),
            "concurrency": one.concurrency,
        }
        for name, one in estimate.measured.items()
    }
    found: dict[str, Any] = {
        "tasks": rows,
        "prompt_tokens": estimate.prompt_tokens,
        "exact": estimate.exact,
        "groups": [_group(group) for group in estimate.groups],
        "cached": estimate.cached,
        "saved_tokens": estimate.saved.total_tokens,
        "seconds": None if estimate.seconds is None else round(estimate.seconds, 3),
        "cost": estimate.cost,
        "measured": measured,
    }
    click.echo(json.dumps(found, indent=2))


def _row(task: Task, plan: Plan, counts: Mapping[str, Count]) -> dict[str, Any]:
    counted, node = counts.get(task.task_id), task.node
    return {
        "task": task.task_id,
        "bundle": task.bundle.name,
        "file": node.file_path,
        "line": node.start_line,
        "node": node.qualified_name,
        "type": node.type,
        "adapter": counted.adapter if counted else None,
        "prompt_tokens": counted.tokens if counted else 0,
        "operation": task.assignment.operation,
        "cached": task.task_id in plan.cached,
    }


def _group(group: Group) -> dict[str, Any]:
    tokens = None if group.prompt_tokens is None else round(group.prompt_tokens)
    return {
        "operation": group.operation,
        "bundle": group.bundle,
        "type": group.type,
        "tasks": group.tasks,
        "cached": group.cached,
        "prompt_tokens": tokens,
    }


def _kinds(estimate: Estimate) -> str:
    def named(group: Group) -> str:
        whose = f"{group.operation} ({group.bundle})" if group.operation not in ("", group.bundle) else group.bundle
        return f"{group.tasks} of {whose} on {group.type}"

    return ", ".join(named(group) for group in estimate.groups)


def _tokens(estimate: Estimate) -> str:
    tokens = estimate.prompt_tokens
    if tokens is None:
        return "prompt tokens not counted"
    how = "" if estimate.exact else " (estimated: no tokenizer could be asked)"
    word = f"prompt tokens{how} in the first turns"
    if estimate.complete:
        return f"{tokens} {word}"
    return f"about {short(tokens)} {word} ({estimate.counted} of {estimate.tasks} counted)"


def _cache(estimate: Estimate) -> str:
    if not estimate.cached:
        return ""
    return f"cache: {estimate.cached} of {count(estimate.tasks, 'task')}, {estimate.saved.total_tokens} tokens saved"


def _time(estimate: Estimate, concurrency: int) -> Sequence[str]:
    if estimate.cached == estimate.tasks:
        return ()
    if estimate.seconds is None:
        return ("time: unknown until the first tasks are done",)
    names = sorted({group.bundle for group in estimate.groups if group.cached < group.tasks})
    how = "; ".join(_how(estimate.measured[name], name if len(names) > 1 else "") for name in names)
    cost = "" if estimate.cost is None else f"; cost about {estimate.cost:.3g}"
    return (f"time: about {duration(estimate.seconds)}, {concurrency} at once{cost} ({how})",)


def _how(one: Measured, name: str) -> str:
    at_once = "" if one.concurrency is None else f" {one.concurrency} at once"
    return (
        f"{name}{': ' if name else ''}median {duration(one.median)} a task, {short(one.tokens_per_second)} tokens/s"
        f"{at_once} in run {one.run_id}"
    )

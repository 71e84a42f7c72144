"""The plan of `engine run --dry-run`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import click

from engine.cli.console import printable
from engine.run import Plan, Rendered


def print_plan(plan: Plan, requests: Sequence[Rendered], *, as_json: bool) -> None:
    """Print one line per task and the sums.

    Args:
        plan: The plan.
        requests: The first request of each task, in order.
        as_json: Print one JSON object instead.
    """
    rows = [
        {
            "task": task.task_id,
            "bundle": task.bundle.name,
            "file": task.node.file_path,
            "line": task.node.start_line,
            "node": task.node.qualified_name,
            "type": task.node.type,
            "adapter": request.adapter,
            "prompt_tokens": request.tokens,
        }
        for task, request in zip(plan.tasks, requests, strict=True)
    ]
    exact = all(request.exact for request in requests)
    total = sum(request.tokens for request in requests)
    if as_json:
        click.echo(json.dumps({"tasks": rows, "prompt_tokens": total, "exact": exact}, indent=2))
        return
    for row in rows:
        click.echo(
            printable(
                f"{row['bundle']}  {row['file']}:{row['line']}  {row['type']} {row['node']}  {row['prompt_tokens']}"
            )
        )
    kinds = Counter((row["bundle"], row["type"]) for row in rows)
    counts = ", ".join(f"{count} of {bundle} on {kind}" for (bundle, kind), count in sorted(kinds.items()))
    word = "prompt tokens" if exact else "prompt tokens (estimated: no tokenizer could be asked)"
    groups = Counter(row["adapter"] for row in rows)  # in the order in which they run
    if set(groups) - {None}:
        shares = [f"{count} with {name}" if name else f"{count} without" for name, count in groups.items()]
        click.echo(printable(f"adapters in the first turns, one after the other: {', '.join(shares)}"))
    click.echo(f"{len(rows)} tasks{': ' + counts if counts else ''}; {total} {word} in the first turns")

"""`engine cache`: what is kept of earlier results, less of it, and why there is nothing for a task."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import click

from engine.app import App
from engine.cli.console import count, printable, project_option
from engine.errors import BundleError, ConfigError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def parse_size(text: str) -> int:
    """Return a size in bytes: `200MiB`, `1.5 GB` or a number.

    Raises:
        ConfigError: It is no size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if found is None or found[2].upper() not in _UNITS:
        raise ConfigError(f"'{text}' is no size: write one such as 200MiB or 1GiB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


@click.group("cache", invoke_without_command=True)
@click.pass_context
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(ctx: click.Context, project: Path | None, as_json: bool) -> int:
    """Show the size of the cache of results, and how often each bundle's were taken."""
    ctx.ensure_object(dict)["project"] = project
    if ctx.invoked_subcommand is not None:
        return 0
    with App.open(project).cache() as cache:
        stats = cache.stats()
        if as_json:
            bundles = {name: _row(row) for name, row in stats.bundles.items()}
            click.echo(json.dumps({"entries": stats.entries, "size": stats.size, "bundles": bundles}, indent=2))
            return 0
        click.echo(f"{count(stats.entries, 'result')} in {printable(str(cache.path))}, {shown_size(stats.size)}")
    for name, row in stats.bundles.items():
        taken = f"taken {count(row.hits, 'time')}, {row.saved_tokens} tokens saved"
        click.echo(printable(f"{name}  {count(row.entries, 'result')}, {taken}"))
    return 0


@command.command("prune")
@click.option("--max-size", metavar="SIZE", help="What the results may take together, such as 200MiB.")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Remove what was not used for so long."
)
@project_option
@click.pass_context
def prune(ctx: click.Context, max_size: str | None, older_than: float | None, project: Path | None) -> int:
    """Remove the results that were not used for the longest time; without options, those over the bounds."""
    with _app(ctx, project).cache() as cache:
        removed = cache.prune(None if max_size is None else parse_size(max_size), older_than)
        stats = cache.stats()
    click.echo(f"{count(removed, 'result')} removed; {stats.entries} left, {shown_size(stats.size)}")
    return 0


@command.command("clear")
@project_option
@click.pass_context
def clear(ctx: click.Context, project: Path | None) -> int:
    """Remove all results, and the file with them."""
    size = _app(ctx, project).cache().clear()
    click.echo(f"the cache is empty; {shown_size(size)} freed")
    return 0


@command.command("why")
@click.argument("target", metavar="KEY|TASK|FILE::NODE")
@click.option("--bundle", "bundles", multiple=True, help="The bundle; by default those that the cache has it with.")
@click.option("--param", "params", multiple=True, metavar="K=V", help="A value for a param of the bundle.")
@click.option("--model", help="The model, as of engine run.")
@click.option("--adapter", help="The adapter, as of engine run.")
@click.option("--plugin", help="The model family, as of engine run.")
@click.option("--base-url", metavar="URL", help="The server, as of engine run.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="The sampling seed, as of engine run.")
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_context
def why(ctx: click.Context, /, target: str, project: Path | None, as_json: bool, **options: Any) -> int:
    """Say what differs between a task as it is now and the nearest result in the cache.

    A task is named by its id, or by FILE::NODE; what is not said is as in the newest run that had it. A KEY, or its
    beginning, compares that result with the nearest other one. The exit code is 0 when there is a result that holds.
    """
    from engine.cli.run import parse_params

    given = {name: value for name, value in options.items() if value not in (None, ())}
    if options["params"]:
        given["params"] = parse_params(options["params"])
    try:
        found = asyncio.run(_app(ctx, project).why(target, given))
    except BundleError as exc:
        from engine.cli.console import report_findings

        return report_findings(exc)
    if as_json:
        click.echo(json.dumps([one.as_dict() for one in found], indent=2))
    else:
        for one in found:
            for line in lines_of(one):
                click.echo(printable(line))
    return 0 if all(one.verdict in ("hit", "kept") and not one.differences for one in found) else 1


def lines_of(found: Any) -> list[str]:
    """Return an answer of `why` for people: what it is about, then a line for each difference."""
    others = "compared with the nearest other one, this differs:" if found.differences else "no other one is unlike it"
    heads = {
        "hit": "the cache has a result that holds",
        "miss": "nothing in the cache holds; compared with the nearest result, this differs:",
        "empty": "the cache has no result of this bundle",
        "uncachable": "results are never kept:",
        "kept": f"this result is kept; {others}",
    }
    lines = [f"{found.about}: {heads[found.verdict]}"]
    for difference in found.differences:
        lines.append(f"  {difference}" if found.verdict != "uncachable" else f"  {difference.what}")
        lines += [f"    {line}" for line in difference.diff]
    if found.key:
        nearest = f", nearest {found.nearest[:16]}" if found.nearest and found.nearest != found.key else ""
        lines.append(f"  (key {found.key[:16]}{nearest})")
    return lines


def shown_size(size: int) -> str:
    """Return a number of bytes for people."""
    for unit, bytes_of_it in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= bytes_of_it:
            return f"{size / bytes_of_it:.1f} {unit}"
    return f"{size} bytes"


def _app(ctx: click.Context, project: Path | None) -> App:
    return App.open(project or ctx.ensure_object(dict).get("project"))


def _row(row: Any) -> dict[str, int]:
    return {"entries": row.entries, "hits": row.hits, "saved_tokens": row.saved_tokens}

"""`engine models list|pull|path`: local model weights."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from engine.backends.weights import WeightsSpec
    from engine.backends.weights.download import Progress


@click.group("models", help="Local model weights of the embedded backend.")
def command() -> None:
    """Local model weights."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print an array of objects.")
def list_models(as_json: bool) -> None:
    """Show the known models and which are on this machine."""
    from engine.backends.weights import WEIGHTS

    rows = [_row(spec) for spec in WEIGHTS.values()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        state = "here" if row["present"] else "not here"
        line = f"{row['name']:<{width}}  {row['size'] / 1e6:>5.0f} MB  {state:<8}  {row['licence']}  {row['note']}"
        click.echo(line.rstrip())


def _row(spec: WeightsSpec) -> dict[str, Any]:
    from engine.backends.weights import is_present, weights_path

    return {
        "name": spec.name,
        "size": spec.size,
        "present": is_present(spec),
        "licence": spec.licence,
        "note": spec.note,
        "plugin": spec.plugin,
        "path": str(weights_path(spec)),
    }


@command.command("pull")
@click.argument("name", required=False)
def pull_model(name: str | None) -> None:
    """Download a model (the default one without NAME), once; prints its path."""
    from engine.backends.weights import pull

    with download_progress(name) as progress:
        path = pull(name, progress)
    click.echo(path)


@command.command("path")
@click.argument("name", required=False)
def model_path(name: str | None) -> None:
    """Print where a model's file is; exits with 2 when it is not on this machine."""
    from engine.backends.weights import resolve_weights

    click.echo(resolve_weights(name).path)


@contextlib.contextmanager
def download_progress(name: str | None) -> Iterator[Progress | None]:
    """Give a callback that draws a progress bar on stderr; None when stderr is no terminal."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
        task = bar.add_task(f"Fetching {name or 'the default model'}", total=None, visible=False)
        yield lambda done, total: bar.update(task, completed=done, total=total, visible=True)

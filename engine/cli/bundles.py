"""`engine bundles`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.console import note

if TYPE_CHECKING:
    from engine.bundle import BundleSummary


@click.command()
@click.argument("path", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: Path | None, as_json: bool) -> int:
    """List the bundles below PATH (by default the project's bundle folder) and whether they are valid."""
    from engine.bundle import summarise

    rows = summarise([path if path is not None else _bundle_folder()])
    if as_json:
        click.echo(json.dumps([_as_json(row) for row in rows], indent=2))
    elif rows:
        _table(rows)
    else:
        note("no bundles here: engine new NAME makes one")
    return int(any(not row.valid for row in rows))


def _bundle_folder() -> Path:
    """The folder that engine.yaml names, as seen from the working directory."""
    import os

    from engine.manifest import load_engine_config

    here = Path.cwd()
    config, root = load_engine_config(here, None, os.environ)
    folder = (root or here) / config.bundles
    return folder.relative_to(here) if folder.is_relative_to(here) else folder


def _as_json(row: BundleSummary) -> dict[str, Any]:
    return {
        "path": row.path,
        "name": row.name,
        "version": row.version,
        "model": row.model,
        "adapter": row.adapter,
        "tools": list(row.tools),
        "valid": row.valid,
        "errors": row.errors,
        "warnings": row.warnings,
    }


def _table(rows: list[BundleSummary]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("name", "version", "model", "adapter", "tools", "valid", "path"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        problem = f"no: {row.errors} error{'s' if row.errors != 1 else ''}"
        valid = Text("yes", "green") if row.valid else Text(problem, "red")
        cells = (row.name, row.version, row.model, row.adapter or "-", ", ".join(row.tools))
        table.add_row(*(Text(cell) for cell in cells), valid, Text(row.path))
    Console().print(table)

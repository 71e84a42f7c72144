"""`engine nodes`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.console import note, printable, project_option

if TYPE_CHECKING:
    from engine.discovery import CodeNode, Discovery


@click.command(name="nodes")
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--language", "-l", "languages", multiple=True, metavar="NAME", help="Only files in this language.")
@click.option("--type", "-t", "types", multiple=True, metavar="TYPE", help="Only nodes of this type.")
@click.option(
    "--query", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="A tree-sitter query (.scm)."
)
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print an array of the nodes, with their text.")
def command(
    paths: tuple[str, ...],
    languages: tuple[str, ...],
    types: tuple[str, ...],
    query: Path | None,
    project: Path | None,
    as_json: bool,
) -> int:
    """List the code nodes of files and folders."""
    from engine.discovery import discover_async
    from engine.run import find_root

    found = asyncio.run(
        discover_async(
            paths,
            root=find_root(project, paths),
            languages=languages or None,
            types=types or None,
            query=query.read_text("utf-8") if query else None,
        )
    )
    for left_out in found.notes:
        note(printable(str(left_out)))
    if as_json:
        click.echo(json.dumps([node.to_json() for node in found.nodes], ensure_ascii=False, indent=2))
    else:
        _print_table(found)
    return 0


def _print_table(found: Discovery) -> None:
    """Print one line per node; plain columns when standard output is no terminal."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "type", "name", "place", "lines"):
        table.add_column(title, overflow="fold" if title in ("name", "place") else "ellipsis", no_wrap=False)
    for node in found.nodes:
        table.add_row(*_row(node))
    if not console.is_terminal:
        console.width = 100_000  # a pipe has no width: nothing is folded
    console.print(table, markup=False, highlight=False)
    note(f"{len(found.nodes)} nodes in {found.files} files")


def _row(node: CodeNode) -> tuple[str, ...]:
    from rich.markup import escape

    lines = str(node.end_line - node.start_line + 1)
    name = node.qualified_name if node.type != "file" else node.name
    return (
        node.node_id,
        node.type,
        escape(printable(name)),
        escape(printable(f"{node.file_path}:{node.start_line}")),
        lines,
    )

"""`engine migrate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.console import count, fail, note, printable

if TYPE_CHECKING:
    from engine.bundle.migrate import Migration


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--to", type=click.Path(path_type=Path), metavar="FOLDER", help="Leave PATH as it is; write the result here."
)
@click.option("--name", help="The bundle's name, instead of its own.")
@click.option("--dry-run", is_flag=True, help="Only show what would be written.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
def command(path: Path, to: Path | None, name: str | None, dry_run: bool, as_json: bool) -> int:
    """Turn bundles of older formats into this one.

    PATH is a bundle's folder, a manifest of any older shape, or a folder with several. In place, the old manifest is
    kept beside the new one as NAME.old. What could not be carried over is listed, and so is what validation still
    finds: exit code 0 for nothing, 1 for errors that remain, 2 for what cannot be converted.
    """
    from engine.bundle.migrate import plan_migrations, write_migration
    from engine.errors import ConfigError

    migrations = plan_migrations(path, to, name)
    kept: dict[str, str | None] = {}
    failed = False
    for item in migrations:
        try:
            kept[item.manifest] = None if dry_run else write_migration(item)
        except ConfigError as error:
            failed = bool(fail(str(error)))
    if as_json:
        shown = [_as_json(item, kept.get(item.manifest)) for item in migrations if item.manifest in kept]
        click.echo(json.dumps(shown, indent=2))
    for item in migrations:
        if item.manifest in kept:
            _report(item, kept[item.manifest], dry_run=dry_run, as_json=as_json)
    if failed or any(item.status == "unusable" for item in migrations):
        return 2
    return int(any(item.errors for item in migrations))


def _report(item: Migration, kept: str | None, *, dry_run: bool, as_json: bool) -> None:
    """Print a line for the bundle on stdout, what is to be known about it on stderr."""
    if not as_json:
        click.echo(printable(_line(item, kept, dry_run=dry_run)), err=item.status == "unusable")
    for entry in item.notes:
        word = "not carried over" if entry.kind == "lost" else "assumed"
        note(printable(f"{entry.file}:{entry.line}:{entry.column}: {word}: {entry.key}: {entry.message}"))
    if item.diagnostics:
        _findings(item)
    if dry_run and not as_json:
        _show_files(item)


def _line(item: Migration, kept: str | None, *, dry_run: bool) -> str:
    if item.status != "migrated":
        return f"{item.manifest}: {'nothing to do' if item.status == 'current' else 'not converted'}: {item.problem}"
    marks = ", ".join(item.marks[:3]) + (", …" if len(item.marks) > 3 else "")
    verb = "would become" if dry_run else "is now"
    old = f"; the old manifest is {kept}" if kept else ""
    found = count(item.errors, "error") if item.errors else "valid"
    return f"{item.manifest} ({item.shape} shape: {marks}) {verb} {item.target}: {found}{old}"


def _findings(item: Migration) -> None:
    from engine.diagnostics import render

    sources = {f"{item.target}/{name}": content.decode("utf-8", "replace") for name, content in item.files.items()}
    click.echo(render(item.diagnostics, "full", sources=sources), err=True, nl=False)


def _show_files(item: Migration) -> None:
    from engine.bundle.fixing import unified_diff
    from engine.cli.fixing import show_diff

    for name, content in item.files.items():
        before = item.before if name == item.name else b""
        show_diff(unified_diff(f"{item.target}/{name}", before, content, fresh=name != item.name), err=False)


def _as_json(item: Migration, kept: str | None) -> dict[str, Any]:
    from engine.diagnostics import render

    return {
        "manifest": item.manifest,
        "target": item.target,
        "status": item.status,
        "shape": item.shape,
        "recognised_by": list(item.marks),
        "problem": item.problem,
        "kept": kept,
        "files": sorted(item.files),
        "notes": [entry.as_json() for entry in item.notes],
        "findings": json.loads(render(item.diagnostics, "json")),
    }

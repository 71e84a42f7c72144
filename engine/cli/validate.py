"""`engine validate`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from engine.cli.console import note, use_color
from engine.diagnostics import FORMATS, Diagnostic, render


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@click.option(
    "--output-format", type=click.Choice(FORMATS), default="full", show_default=True, help="How to print findings."
)
@click.option("--strict", is_flag=True, help="Exit with 1 for warnings too.")
@click.option("--fix", "repairs", flag_value="write", help="Repair what is certain first, and show how (on stderr).")
@click.option("--diff", "repairs", flag_value="show", help="Only show what --fix would change; write nothing.")
@click.option("--watch", is_flag=True, help="Show the findings again after every change, until Ctrl-C.")
@click.option("--no-cache", is_flag=True, help="Check everything anew.")
def command(
    paths: tuple[Path, ...], output_format: str, strict: bool, repairs: str | None, watch: bool, no_cache: bool
) -> int:
    """Show everything that is wrong with the bundles below each PATH (by default the working directory)."""
    from engine.bundle import validation

    paths = paths or (Path(),)
    if watch:
        return _watch(paths, output_format, repairs, use_cache=not no_cache)
    changed = _repair(paths, write=repairs == "write") if repairs else 0
    result = validation(paths, use_cache=not no_cache)
    if repairs == "show":
        note(summary(result.diagnostics, result.bundles))
        return max(int(changed > 0), exit_code(result.diagnostics, strict=strict))
    _show(result.diagnostics, result.bundles, output_format)
    return exit_code(result.diagnostics, strict=strict)


def _watch(paths: Sequence[Path], output_format: str, repairs: str | None, *, use_cache: bool) -> int:
    if repairs:
        raise click.UsageError("--watch only shows: leave --fix and --diff out")
    from engine.cli.watching import watch

    watch(paths, partial(_show, output_format=output_format), use_cache=use_cache)
    return 130


def _show(diagnostics: Sequence[Diagnostic], bundles: int, output_format: str) -> None:
    _write(render(diagnostics, output_format, color=use_color() and output_format in ("full", "concise")))
    note(summary(diagnostics, bundles))


def _repair(paths: Sequence[Path], *, write: bool) -> int:
    from engine.cli.fixing import repair

    return repair(paths, write=write)


def exit_code(diagnostics: Sequence[Diagnostic], *, strict: bool) -> int:
    """Return 1 when there is an error (or, if strict, anything at all), else 0."""
    return int(any(strict or item.severity == "error" for item in diagnostics))


def summary(diagnostics: Sequence[Diagnostic], bundles: int) -> str:
    """Say how many findings there are in how many bundles."""
    errors = sum(item.severity == "error" for item in diagnostics)
    warnings = len(diagnostics) - errors
    found = [_count(errors, "error")] if errors or not warnings else []
    if warnings:
        found.append(_count(warnings, "warning"))
    return f"{' and '.join(found)} in {_count(bundles, 'bundle')}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _write(text: str) -> None:
    """Print text that may hold file names which are not valid UTF-8."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "replace").decode(encoding, "replace"), nl=False)

"""Where text goes: results to stdout, everything else to stderr; text that others wrote is made harmless first."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from engine.errors import BundleError

project_option = click.option(
    "--project",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="The project's root, if it is not around the working directory.",
)


def quiet() -> bool:
    """Whether `--quiet` is on."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().params.get("quiet"))


def count(number: int, thing: str) -> str:
    """Return a number with its noun: `1 task`, `2 tasks`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def note(text: str) -> None:
    """Tell the user something that is not a result."""
    if not quiet():
        click.echo(text, err=True)


def fail(text: str) -> int:
    """Print an error and return the exit code for it, 2."""
    click.echo(f"{click.style('error', fg='red', bold=True)}: {printable(text)}", err=True, color=told_color())
    return 2


def report_findings(error: BundleError) -> int:
    """Print what is wrong with a bundle and return the exit code for findings, 1."""
    from engine.diagnostics import render

    click.echo(f"{click.style('error', fg='red', bold=True)}: {printable(str(error))}", err=True)
    if error.diagnostics:
        click.echo(render(error.diagnostics, "full", color=use_color(sys.stderr)), err=True)
    return 1


def told_color() -> bool | None:
    """Return what NO_COLOR and FORCE_COLOR say about colour; None where it is left to the stream."""
    if os.environ.get("NO_COLOR"):
        return False
    return True if os.environ.get("FORCE_COLOR") else None


def use_color(stream: object = None) -> bool:
    """Whether a stream, by default stdout, wants colour: NO_COLOR, FORCE_COLOR, else whether it is a terminal."""
    told = told_color()
    return bool(getattr(stream or sys.stdout, "isatty", lambda: False)()) if told is None else told


def printable(text: str) -> str:
    """Spell out control characters other than line ends: a model's or a file's text must not drive the terminal."""
    from engine.diagnostics import printable as spelled

    ends = [(line.removesuffix("\r"), line.endswith("\r")) for line in text.split("\n")]
    return "\n".join(spelled(line) + "\r" * end for line, end in ends)

"""Where text goes: results to stdout, everything else to stderr."""

from __future__ import annotations

import os

import click


def quiet() -> bool:
    """Whether `--quiet` is on."""
    context = click.get_current_context(silent=True)
    return bool(context and context.find_root().params.get("quiet"))


def note(text: str) -> None:
    """Tell the user something that is not a result."""
    if not quiet():
        click.echo(text, err=True)


def fail(text: str) -> int:
    """Print an error and return the exit code for it, 2."""
    click.echo(f"{click.style('error', fg='red', bold=True)}: {text}", err=True)
    return 2


def use_color() -> bool:
    """Whether stdout wants colour: FORCE_COLOR and NO_COLOR first, else whether it is a terminal."""
    import sys

    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or sys.stdout.isatty()

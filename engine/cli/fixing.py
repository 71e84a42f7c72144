"""`engine validate --fix` and `--diff`: what the repairs change, as a diff."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from engine.cli.console import count, note, printable, quiet, use_color

_STYLES = {"+": "green", "-": "red", "@": "cyan"}


def repair(paths: Sequence[Path], *, write: bool) -> int:
    """Repair the bundles below the paths, or only show how; return the number of files with repairs.

    With `write` the diff is an account of what was done and goes to stderr; without it it is the result, on stdout.
    """
    from engine.bundle.fixing import plan_fixes, write_fixes

    fixes = plan_fixes(paths)
    problems = [*fixes.refused, *(write_fixes(fixes.files) if write else ())]
    left = {problem.partition(": ")[0] for problem in problems}
    done = [item for item in fixes.files if item.shown not in left]
    for item in done:
        show_diff(item.diff, err=write)
    for problem in problems:
        click.echo(f"{click.style('warning', fg='yellow', bold=True)}: {printable(problem)}", err=True)
    fixed = sum(len(item.fixed) for item in done)
    if done:
        verb = "repaired" if write else "would repair"
        note(f"{verb} {count(fixed, 'finding')} in {count(len(done), 'file')}")
    return len(fixes.files)


def show_diff(text: str, *, err: bool) -> None:
    """Print a unified diff; on stderr only where `--quiet` is off."""
    if err and quiet():
        return
    color = use_color(sys.stderr if err else sys.stdout)
    for line in text.split("\n")[:-1]:
        shown = printable(line)
        click.echo(click.style(shown, fg=_STYLES.get(line[:1])) if color else shown, err=err, color=color)

"""`engine new`."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app import App
from engine.cli.console import note, printable, project_option

if TYPE_CHECKING:
    from engine.bundle.scaffold import Outline

KINDS = ("edit", "report")


@click.command(name="new")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="edit changes code, report only says something about it.")
@click.option("--description", metavar="TEXT", help="What the bundle does, in a sentence.")
@click.option("--language", "-l", "languages", multiple=True, metavar="NAME", help="Languages of the code. [python]")
@click.option("--node-type", "types", multiple=True, metavar="TYPE", help="Code nodes: function, class, section, …")
@click.option("--tool", metavar="NAME", help="The name of its tool.")
@click.option("--plugin", default="smollm", show_default=True, help="The model family.")
@click.option("--path", type=click.Path(path_type=Path), help="The bundle's folder, if not NAME among the project's.")
@click.option("--yes", "-y", is_flag=True, help="Ask nothing: what is left out gets its default.")
@project_option
def command(name: str, path: Path | None, project: Path | None, yes: bool, **wanted: Any) -> int:
    """Make the bundle NAME: one that validates, runs on the default model and has a test.

    Asks for what is left out only in a terminal.
    """
    from engine.bundle.scaffold import check_name, fill, outline, place, refuse_occupied

    app = App.open(project)
    folder = path if path is not None else app.root / app.config.bundles / check_name(name)
    refuse_occupied(folder)
    outline(name, **_given(wanted))
    if not yes and _someone_there():
        _ask(wanted)
    plan = outline(name, **_given(wanted))
    files = fill(plan, _schemas(app.root, folder))
    place(folder, files)
    shown = _shown(folder)
    for file in sorted(files):
        click.echo(printable(f"{shown}/{file}"))
    _next(plan, shown)
    return 0


def _given(wanted: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in wanted.items() if value is not None}


def _someone_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()


def _ask(wanted: dict[str, Any]) -> None:
    """Ask for what has no flag; an empty answer takes the default."""
    from engine.bundle.scaffold import DESCRIPTIONS

    if wanted["kind"] is None:
        question = "Does it change code (edit), or only say something about it (report)?"
        wanted["kind"] = click.prompt(question, type=click.Choice(KINDS), default="edit", show_choices=False, err=True)
    if not wanted["languages"]:
        answer = click.prompt("Which languages does it take?", default="python", err=True)
        wanted["languages"] = tuple(answer.replace(",", " ").split())
    if wanted["description"] is None:
        default = DESCRIPTIONS[wanted["kind"]]
        wanted["description"] = click.prompt("What does it do, in a sentence?", default=default, err=True)


def _schemas(root: Path, folder: Path) -> str | None:
    """Say where the exported schemas lie, seen from the bundle, if the project has them."""
    schemas = root / "schemas"
    if not all((schemas / f"{kind}.schema.json").is_file() for kind in ("bundle", "tests")):
        return None
    return Path(os.path.relpath(schemas, folder.resolve())).as_posix()


def _shown(folder: Path) -> str:
    """Return the folder as a person would type it here."""
    here, there = Path.cwd(), folder.resolve()
    return there.relative_to(here).as_posix() if there.is_relative_to(here) else there.as_posix()


def _next(plan: Outline, shown: str) -> None:
    from engine.bundle.scaffold import sample

    path, node = sample(plan)
    target = f"{shown}/{path}"
    pinned = f"{target}::{node}" if node else target
    commands: Sequence[Sequence[str]] = (
        ("validate", shown),
        ("test", shown),
        ("dev", shown, "--target", pinned),
        ("run", shown, "--target", target),
    )
    note("\nnext:")
    for words in commands:
        note(printable("  engine " + shlex.join(words)))

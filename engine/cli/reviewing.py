"""`engine review`."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from engine.app import App
from engine.cli.console import project_option
from engine.cli.review import run_argument
from engine.errors import ConfigError, MissingExtraError


@click.command(name="review")
@run_argument
@project_option
def command(run: str | None, project: Path | None) -> int:
    """Review the changes of a run full-screen; without RUN, of the newest.

    For each change the diff, why (the model's words and tool calls) and the checks; accept, reject, edit, try again
    with a note, undo. The key ? shows all keys.
    """
    streams = (sys.stdin, sys.stdout, sys.stderr)
    if os.environ.get("TERM") == "dumb" or not all(stream.isatty() for stream in streams):
        raise ConfigError(
            "engine review needs a terminal; engine diff shows the changes, engine accept, reject and undo decide"
        )
    if find_spec("textual") is None:
        raise MissingExtraError("the full screen of engine review (engine diff and accept go without)", "frontend")
    from engine.cli.run import fetch_weights
    from engine.tui.review.desk import Desk
    from engine.tui.review.screen import show

    async def review() -> int:
        app = App.open(project)
        return await show(Desk(app, app.review(run), fetch=fetch_weights))

    return asyncio.run(review())

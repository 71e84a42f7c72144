"""`engine dev`."""

from __future__ import annotations

import asyncio
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from engine.cli.console import project_option, use_color
from engine.cli.render import node_options, split_target
from engine.errors import MissingExtraError

if TYPE_CHECKING:
    from engine.tui.dev.loop import DevLoop


@click.command(name="dev")
@click.argument("bundle")
@node_options
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Sampling seed.")
@click.option(
    "--allow-unconstrained",
    is_flag=True,
    envvar=["ENGINE_DEV_ALLOW_UNCONSTRAINED", "ENGINE_ALLOW_UNCONSTRAINED"],
    help="Run even where the server does not enforce the bundle's constraint.",
)
@click.option("--no-run", is_flag=True, help="Only validate and render; call no model.")
@click.option("--plain", is_flag=True, help="Print lines instead of the full screen; so does a pipe.")
@click.option("--once", is_flag=True, help="Preview once, as lines, and exit with 1 if anything is wrong.")
@project_option
def command(bundle: str, target: str, params: tuple[str, ...], **options: Any) -> int:
    """Preview a bundle on one node: on each save validate, render, run and show what changed.

    The change stays out of the project until you accept it (key a); previews are not listed by `engine runs`.
    """
    from engine.cli.run import fetch_weights, parse_params
    from engine.tui.dev.loop import DevLoop, DevOptions

    plain = options["plain"] or options["once"] or not _has_screen()
    if not plain and find_spec("textual") is None:
        raise MissingExtraError("the full screen of engine dev (--plain goes without)", "frontend")
    file, node = split_target(target)
    names = ("model", "adapter", "plugin", "base_url", "seed", "allow_unconstrained")
    settings = {"params": parse_params(params), **{name: options[name] for name in names}}
    chosen = DevOptions(bundle, file, node, not options["no_run"], settings)
    loop = DevLoop(chosen, options["project"], fetch=None if options["no_run"] else fetch_weights)
    return asyncio.run(_plain(loop, once=options["once"]) if plain else _full(loop))


def _has_screen() -> bool:
    """Whether all of this is a terminal that can show more than lines."""
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return os.environ.get("TERM") != "dumb" and all(stream.isatty() for stream in streams)


async def _full(loop: DevLoop) -> int:
    from engine.tui.dev.screen import show

    async with loop:
        return await show(loop)


async def _plain(loop: DevLoop, *, once: bool) -> int:
    from engine.tui.dev.plain import follow

    return await follow(loop, color=use_color(), once=once)

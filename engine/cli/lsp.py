"""`engine lsp`."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import click

from engine.cli.console import note
from engine.errors import MissingExtraError


@click.command()
@click.option("--stdio", is_flag=True, expose_value=False, help="Standard input and output; there is no other way.")
def command() -> int:
    """Serve an editor over the Language Server Protocol, on standard input and output.

    Diagnostics while typing, completion, hover, definitions and fixes for bundle.yaml, templates, .pym scripts and
    cases. docs/editors.md shows how to set up VS Code, Neovim and Helix.
    """
    if find_spec("pygls") is None:
        raise MissingExtraError("engine lsp", "editor")
    from engine.lsp.server import main

    if sys.stdin.isatty():
        note("waiting for an editor on standard input (Ctrl-C ends)")
    return main()

"""Shell completion: `engine completion SHELL` prints a script, which asks the engine anew at each press of the key."""

from __future__ import annotations

import click

from engine.cli.completion.shells import SHELLS, complete_at_once, script

__all__ = ["SHELLS", "command", "complete_at_once", "script"]


@click.command(name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the script that makes SHELL complete verbs, options, bundles, nodes, codes, params and runs.

    bash, zsh: eval "$(engine completion bash)"; fish: engine completion fish | source
    """
    click.echo(script(shell), nl=False)

"""`engine schema`."""

from __future__ import annotations

from typing import Literal

import click


@click.command()
@click.argument("kind", type=click.Choice(["bundle", "engine"]), default="bundle")
def command(kind: Literal["bundle", "engine"]) -> None:
    """Print the JSON Schema of bundle.yaml (or of engine.yaml)."""
    from engine.manifest.export import schema_text

    click.echo(schema_text(kind), nl=False)

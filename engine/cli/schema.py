"""`engine schema`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from engine.manifest.schema import Kind


@click.command()
@click.argument("kind", type=click.Choice(["bundle", "engine", "tests"]), default="bundle")
def command(kind: Kind) -> None:
    """Print the JSON Schema of bundle.yaml (or of engine.yaml, or of the files of cases)."""
    from engine.manifest.export import schema_text

    click.echo(schema_text(kind), nl=False)

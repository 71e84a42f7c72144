"""`engine explain`."""

from __future__ import annotations

import click

from engine.diagnostics import CODES, did_you_mean, page


@click.command()
@click.argument("code", required=False)
def command(code: str | None) -> None:
    """Show the page of a diagnostic CODE; without one, list all codes."""
    if code is None:
        for row in CODES.values():
            click.echo(f"{row.id}  {row.severity:<7}  {row.name:<24}  {row.summary}")
        return
    click.echo(page(_resolve(code)), nl=False)


def _resolve(code: str) -> str:
    """Find the code by its id or its readable name."""
    names = {row.name: row.id for row in CODES.values()}
    found = code.upper() if code.upper() in CODES else names.get(code.lower())
    if found is None:
        hint = did_you_mean(code.upper(), CODES) or did_you_mean(code.lower(), names)
        advice = f": {hint}" if hint else "; `engine explain` lists all codes"
        raise click.BadParameter(f"there is no code '{code}'{advice}", param_hint="CODE")
    return found

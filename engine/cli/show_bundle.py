"""`engine show-bundle`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from engine.app import App
from engine.cli.console import printable, project_option, report_findings, use_color
from engine.errors import BundleError


@click.command(name="show-bundle")
@click.argument("bundle")
@click.option("--resolved", is_flag=True, help="With what it inherits by `extends`, and every default.")
@click.option("--origin", is_flag=True, help="As --resolved; each line says where its value was written.")
@click.option("--json", "as_json", is_flag=True, help='Print JSON: {"manifest": …, "origin": {PATH: …}}.')
@project_option
def command(bundle: str, resolved: bool, origin: bool, as_json: bool, project: Path | None) -> int:
    """Show the manifest of BUNDLE: as written, or merged with those of the bundles that it builds on."""
    from engine.bundle.extends import show_manifest
    from engine.diagnostics import render

    try:
        shown = show_manifest(_near(App.open(project).locate(bundle)), resolved=resolved or origin, origins=origin)
    except BundleError as exc:
        return report_findings(exc)
    if as_json:
        click.echo(json.dumps({"manifest": shown.manifest, "origin": shown.origin}, ensure_ascii=False, indent=2))
    else:
        click.echo(printable(shown.text), nl=False)
    if shown.diagnostics:
        click.echo(render(shown.diagnostics, "full", color=use_color(sys.stderr)), err=True, nl=False)
    return int(any(item.severity == "error" for item in shown.diagnostics))


def _near(place: str | Path) -> str | Path:
    """Return a path below the working directory as people would type it."""
    here = Path.cwd()
    return place.relative_to(here) if isinstance(place, Path) and place.is_relative_to(here) else place

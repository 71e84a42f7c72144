"""`engine report`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.app import App
from engine.cli.console import note, project_option


@click.command(name="report")
@click.argument("run", required=False)
@click.option("-o", "--output", metavar="FILE", help="The file, `-` for stdout; by default report-RUN.html.")
@click.option("--force", is_flag=True, help="Replace a file that is no report.")
@project_option
def command(run: str | None, output: str | None, force: bool, project: Path | None) -> int:
    """Write a run as one HTML page that needs nothing beside itself; without RUN, of the newest.

    Outcomes, diffs and why, a timeline, tokens and latency, failures by cause.
    """
    from engine.report import report_of, write_report

    run_id, page = report_of(App.open(project), run)
    if output == "-":
        click.echo(page, nl=False)
        return 0
    path = Path(output or f"report-{run_id}.html")
    write_report(page, path, force=force)
    click.echo(path)
    note(f"{len(page.encode()) / 1000:.0f} KB; open it in a browser")
    return 0

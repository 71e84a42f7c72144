"""`engine doctor`."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.app import App, RunRequest
from engine.cli.console import printable, project_option

if TYPE_CHECKING:
    from engine.run.doctor import Check

_COLORS = {"ok": "green", "fail": "red", "skip": "yellow"}


@click.command(name="doctor")
@click.argument("bundles", nargs=-1, metavar="[BUNDLE]...")
@click.option("--base-url", metavar="URL", help="An openai-compatible server to use, with /v1.")
@click.option("--model", help="A model of the server or of `engine models list`, or a GGUF file.")
@click.option("--plugin", help="The model family, if not the bundle's.")
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print an array of {name, state, detail}.")
def command(
    bundles: tuple[str, ...],
    base_url: str | None,
    model: str | None,
    plugin: str | None,
    project: Path | None,
    as_json: bool,
) -> int:
    """Prove what is in force: the server, its model and adapters, each constraint, the sandbox, the weights.

    Without BUNDLE every kind of constraint that the project's backend offers is checked. One line for each check; exits
    with 1 when one fails.
    """
    request = RunRequest(bundles, [], model=model, base_url=base_url, plugin=plugin)
    checks = asyncio.run(_examine(App.open(project), request, quietly=as_json))
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=2))
    return int(any(check.state == "fail" for check in checks))


async def _examine(app: App, request: RunRequest, *, quietly: bool) -> list[Check]:
    checks: list[Check] = []
    async for check in app.examine(request):
        checks.append(check)
        if not quietly:
            state = click.style(check.state, fg=_COLORS[check.state])
            click.echo(f"{state} {printable(check.name)}: {printable(check.detail)}")
    return checks

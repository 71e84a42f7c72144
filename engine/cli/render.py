"""`engine render`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app import App, RunRequest
from engine.cli.console import printable, project_option, report_findings
from engine.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from engine.run import Rendered


def split_target(target: str) -> tuple[Path, str | None]:
    """Return the file and the node's name of `FILE` or `FILE::NODE`."""
    file, separator, node = target.partition("::")
    return Path(file), node if separator else None


def node_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name one node and who would answer it."""
    options = (
        click.option(
            "--target", "-t", required=True, metavar="FILE[::NODE]", help="The node, by (qualified) name or id."
        ),
        click.option("--param", "params", multiple=True, metavar="K=V", help="A value for a param of the bundle."),
        click.option("--model", help="As for `engine run`."),
        click.option("--adapter", help="As for `engine run`."),
        click.option("--plugin", help="As for `engine run`."),
        click.option("--base-url", metavar="URL", help="As for `engine run`."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(name="render")
@click.argument("bundle")
@node_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@project_option
def command(bundle: str, target: str, params: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Show the exact messages, tool schemas, constraint and token count of a task; calls no model."""
    from engine.cli.run import parse_params

    file, node = split_target(target)
    if not file.exists():
        raise ConfigError(f"{file} does not exist: --target takes FILE or FILE::NODE")
    project = options.pop("project")
    request = RunRequest([bundle], [file], parse_params(params), nodes=[node] if node else [], limit=1, **options)
    try:
        rendered = asyncio.run(_render(App.open(project, [file]), request))
    except BundleError as exc:
        return report_findings(exc)
    if as_json:
        click.echo(json.dumps(rendered.as_dict(), ensure_ascii=False, indent=2))
    else:
        show(rendered)
    return 0


async def _render(app: App, request: RunRequest) -> Rendered:
    async with app.session(request) as session:
        if not session.plan.tasks:
            raise ConfigError(session.plan.why_no_task(request.nodes))
        return await session.render(session.plan.tasks[0])


def show(rendered: Rendered) -> None:
    """Print a rendered request for people."""
    title, *rest = rendered.sections()
    click.secho(printable(title[0]), bold=True)
    for heading, body in rest:
        click.secho(f"\n{printable(heading)}", fg="cyan")
        if body:
            click.echo(printable(body))

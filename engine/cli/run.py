"""`engine run`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app import App, RunRequest
from engine.app.planning import estimated
from engine.cli.console import note, printable, project_option, quiet, report_findings
from engine.cli.stopping import INTERRUPTED, report_result, run_to_end
from engine.cli.tracing import otel_option, traced
from engine.errors import BackendError, BundleError, ConfigError
from engine.run.budget import parse_budget
from engine.run.select import parse_shard

if TYPE_CHECKING:
    from engine.run import Session

_AS_GIVEN = (
    "model",
    "adapter",
    "plugin",
    "base_url",
    "concurrency",
    "seed",
    "limit",
    "changed_since",
    "executor",
    "on_failure",
)


def parse_params(pairs: tuple[str, ...]) -> dict[str, Any]:
    """Return `k=v` pairs as values: YAML scalars, so `n=3` is a number and `s=google` a text.

    Raises:
        ConfigError: A pair has no `=`.
    """
    import yaml

    values: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise ConfigError(f"--param '{pair}' has the wrong form: write name=value")
        try:
            values[name] = yaml.safe_load(text) if text else ""
        except yaml.YAMLError as exc:
            raise ConfigError(f"--param '{name}': the value is not a YAML value; quote it") from exc
    return values


@click.command(name="run")
@click.argument("bundles", nargs=-1, metavar="[BUNDLE]...")
@click.option("--target", "-t", "targets", multiple=True, required=True, metavar="PATH", help="File or folder.")
@click.option("--apply", "apply_", is_flag=True, help="Accept the changes at the end of the run.")
@click.option("--dry-run", is_flag=True, help="Show the plan and the prompt tokens; call no model.")
@click.option("--all", "every", is_flag=True, help="With --dry-run: list every task, however many there are.")
@click.option("--limit", type=click.IntRange(min=1), help="Run at most this many tasks: those of the first nodes.")
@click.option("--node", "nodes", multiple=True, metavar="GLOB", help="Only nodes of this name, id or FILE::NAME.")
@click.option("--changed-since", metavar="REF", help="Only nodes whose text is not what it was at a git commit.")
@click.option("--shard", metavar="I/N", help="Only the I-th of N parts of the nodes; each is always in the same one.")
@click.option("--param", "params", multiple=True, metavar="K=V", help="A value for a param of the bundle.")
@click.option("--model", help="A model of the server or of `engine models list`, or a GGUF file.")
@click.option("--adapter", help="The adapter that answers; 'none' switches adapters off.")
@click.option("--plugin", help="The model family, if not the bundle's.")
@click.option("--base-url", metavar="URL", help="An openai-compatible server to use, with /v1.")
@click.option("--concurrency", type=click.IntRange(1, 1024), help="Tasks at once.")
@click.option(
    "--budget", multiple=True, metavar="KIND=N", help="What the run may use: tokens=, cost=, tool_calls= or seconds=."
)
@click.option("--executor", type=click.Choice(["local", "ray"]), help="Where tasks run: here, or on a Ray cluster.")
@click.option(
    "--on-failure",
    type=click.Choice(["skip_dependents", "continue", "stop"]),
    help="When a task fails: skip those that come after it, go on all the same, or start no more.",
)
@click.option("--no-cache", is_flag=True, help="Ask for everything anew, and keep that instead.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Sampling seed.")
@click.option(
    "--allow-unconstrained",
    is_flag=True,
    envvar=["ENGINE_RUN_ALLOW_UNCONSTRAINED", "ENGINE_ALLOW_UNCONSTRAINED"],
    help="Run even where the server does not enforce the bundle's constraint.",
)
@otel_option
@project_option
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON lines, the summary last.")
def command(**options: Any) -> int:
    """Run bundles over the code nodes of files and folders.

    One task per bundle and matching node. BUNDLE is a path, a bundle's name or that of an operation of engine.yaml;
    without one, all operations run. Changes wait in the run's overlay until `engine accept`.
    """
    request = RunRequest(
        bundles=options["bundles"],
        targets=[Path(target) for target in options["targets"]],
        params=parse_params(options["params"]),
        nodes=options["nodes"],
        shard=parse_shard(options["shard"]) if options["shard"] is not None else None,
        allow_unconstrained=options["allow_unconstrained"],
        budget=parse_budget(options["budget"]),
        cache=False if options["no_cache"] else None,
        **{key: options[key] for key in _AS_GIVEN},
    )
    app = App.open(options["project"], request.targets)
    try:
        if options["dry_run"]:
            return asyncio.run(_dry_run(app, request, every=options["every"], as_json=options["as_json"]))
        return run_to_end(_run(app, request, apply=options["apply_"], otel=options["otel"], as_json=options["as_json"]))
    except BundleError as exc:
        return report_findings(exc)
    except KeyboardInterrupt:
        note(INTERRUPTED)
        raise


async def _dry_run(app: App, request: RunRequest, *, every: bool, as_json: bool) -> int:
    from engine.cli.plan_view import print_json, print_plan
    from engine.run.estimate import count

    async with app.session(request) as session:
        try:
            await session.look()
            answers = True
        except BackendError:  # a plan can be shown while the server is down
            answers = False
        tasks = [task for task in session.plan.tasks if task.task_id not in session.plan.cached]
        counts = await count(tasks, session, ask=answers)
        found = await estimated(app, session, counts)
        if as_json:
            print_json(session.plan, counts, found)
        else:
            print_plan(session.plan, counts, found, concurrency=session.settings.concurrency, every=every)
    return 0


async def note_start(app: App, session: Session) -> None:
    """Say what a run is going to take, unless `--quiet`; a sample of its prompts is counted for that."""
    if quiet():
        return
    from engine.cli.plan_view import note_plan
    from engine.run.estimate import count_some

    tasks = [task for task in session.plan.tasks if task.task_id not in session.plan.cached]
    found = await estimated(app, session, await count_some(tasks, session))
    note_plan(found, session.settings.concurrency)


async def _run(app: App, request: RunRequest, *, apply: bool, otel: str | None, as_json: bool) -> int:
    from engine.cli.progress import make_view

    view = make_view(as_json=as_json)
    async with traced(app, otel) as trace, app.session(request, fetch=fetch_weights) as session:
        for line in session.plan.notes:
            note(f"note: {line}")
        warnings = await session.check()
        for line in warnings:
            note(printable(f"warning: {line}"))
        if not as_json:
            await note_start(app, session)
        with view:
            result = await session.run([view, trace], apply=apply, mirror=view.mirror)
        if session.cache_problem not in (None, *warnings):
            note(printable(f"warning: {session.cache_problem}"))
    return report_result(view, result, app.root)


def fetch_weights(name: str) -> Path:
    """Download known weights if they are not here, saying so."""
    from engine.backends.weights import WEIGHTS, is_present, pull, weights_path
    from engine.cli.models import download_progress

    spec = WEIGHTS[name]
    if is_present(spec):
        return weights_path(spec)
    note(f"fetching the model {name} ({spec.size / 1e6:.0f} MB), once")
    with download_progress(name) as progress:
        return pull(name, progress)

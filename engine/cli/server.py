"""`engine server start|status|stop`: a vLLM server with the flags that bundles need."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.console import note, printable, project_option, report_findings
from engine.errors import BundleError

if TYPE_CHECKING:
    from engine.app import App
    from engine.backends import VllmServer
    from engine.backends.vllm_server import Progress
    from engine.backends.vllm_server_needs import BundleNeeds
    from engine.backends.vllm_server_state import ProjectServer, ServerState


@click.group("server")
def command() -> None:
    """Start, look at and stop a vLLM server that has what bundles need."""


@command.command("start")
@click.argument("bundles", nargs=-1, metavar="[BUNDLE...] [-- OPTION...]", type=click.UNPROCESSED)
@click.option("--model", help="The model: a folder, or a name on the hub; by default the one that the bundles name.")
@click.option("--served-name", help="What requests call the model, if not what the bundles call it.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The port.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--python", metavar="FILE", help="The interpreter of vLLM's environment, if `vllm` is not on PATH.")
@click.option("--max-model-len", type=click.IntRange(min=1), help="Tokens of context.")
@click.option("--max-lora-rank", type=click.IntRange(min=1), help="The largest rank of adapters that come later.")
@click.option("--data-parallel-size", type=click.IntRange(min=1), default=1, help="Copies of the model.")
@click.option("--chat-template", type=click.Path(exists=True, dir_okay=False), help="A Jinja file.")
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=900, show_default=True, help="Seconds.")
@click.option("--foreground", is_flag=True, help="Stay; Ctrl-C ends the server.")
@click.option("--dry-run", is_flag=True, help="Print the command and start nothing.")
@project_option
def start(bundles: tuple[str, ...], **options: Any) -> int:
    """Start a vLLM server with the flags that the bundles need, and wait until it is healthy.

    What follows `--` is passed on to vLLM. The log is .engine/server.log.
    """
    from engine.app import App
    from engine.backends.vllm_server_state import ProjectServer

    app = App.open(options["project"])
    place = ProjectServer(app.root)
    try:
        server = _server(app, place, *_split(bundles), options)
    except BundleError as error:
        return report_findings(error)
    if options["dry_run"]:
        click.echo(_as_shell(server))
        return 0
    note(_as_shell(server))
    state, fresh = place.start(server, detached=not options["foreground"])
    try:
        with _progress() as told:
            if fresh:
                server.wait_until_healthy(options["timeout"], told)
            else:
                note(f"it runs already, pid {state.identity.guard}")
                place.wait_until_healthy(state, options["timeout"], told)
        _say_ready(state)
        if options["foreground"] and fresh:
            note("Ctrl-C ends it")
            server.wait()
    finally:
        if fresh and (options["foreground"] or not server.running):
            server.stop()
            place.forget(state)
    return 0


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
@project_option
def status(as_json: bool, project: Path | None) -> int:
    """Show the project's server; exits with 1 when there is none or it is not healthy."""
    from engine.backends.vllm_server import healthy

    state = _place(project).current()
    if state is None:
        click.echo("null") if as_json else click.echo("no server runs here: engine server start")
        return 1
    is_healthy = healthy(state.base_url)
    adapters = _adapters(state.base_url) if is_healthy else state.adapters
    up = time.time() - state.since
    if as_json:
        row = {"pid": state.identity.guard, "healthy": is_healthy, "model": state.model, "adapters": list(adapters)}
        click.echo(json.dumps(row | {"base_url": state.base_url, "uptime_seconds": round(up, 1), "log": state.log}))
    else:
        click.echo(printable(f"{'healthy' if is_healthy else 'not healthy'}: {state.model} at {state.base_url}"))
        click.echo(printable(f"adapters: {', '.join(adapters) or 'none'}"))
        click.echo(f"pid {state.identity.guard}, up for {_duration(up)}, log {state.log}")
    return 0 if is_healthy else 1


@command.command("stop")
@project_option
def stop(project: Path | None) -> None:
    """End the project's server and all of its processes."""
    state = _place(project).stop()
    click.echo(f"stopped {state.model} at {state.base_url}" if state else "no server runs here")


def _place(project: Path | None) -> ProjectServer:
    from engine.backends.vllm_server_state import ProjectServer
    from engine.run.root import find_root

    return ProjectServer(find_root(project))


def _split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the words into bundles and options of vLLM: from the first that begins with a dash."""
    first = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    return list(words[:first]), list(words[first:])


def _server(
    app: App, place: ProjectServer, bundles: Sequence[str], extra: Sequence[str], options: dict[str, Any]
) -> VllmServer:
    from engine.backends import VllmServer
    from engine.backends.vllm_server_needs import server_needs

    spec = app.config.backend
    needed = [_needs(app, source) for source in bundles]
    fallback = spec.model if spec.kind == "openai" and not any(one.model for one in needed) else None
    needs = server_needs(needed, options["model"] or fallback, options["served_name"], extra)
    for line in needs.notes:
        note(f"note: {line}")
    given = ("port", "host", "python", "max_model_len", "max_lora_rank", "data_parallel_size", "chat_template")
    return VllmServer(
        needs.model,
        adapters=needs.adapters,
        served_name=needs.served_name,
        tool_parser=needs.tool_parser,
        extra=extra,
        log=place.log,
        **{name: options[name] for name in given},
    )


def _needs(app: App, source: str) -> BundleNeeds:
    from engine.backends.vllm_server_needs import BundleNeeds

    bundle = app.bundle(source)
    operation = next((op for op in app.config.operations.values() if op.enabled and op.bundle == bundle.name), None)
    plugin = bundle.get_plugin(operation.plugin if operation else None)
    model = (operation.model if operation else None) or bundle.manifest.model.id
    api_tools = plugin.tool_choice([tool.schema for tool in bundle.tools]) is not None
    return BundleNeeds(bundle.name, model, tuple(bundle.adapters.values()), api_tools)


def _as_shell(server: VllmServer) -> str:
    words = [f"{name}={shlex.quote(value)}" for name, value in server.environment.items()]
    return " ".join([*words, shlex.join(server.command)])


def _say_ready(state: ServerState) -> None:
    from engine.backends.dialects import DIALECTS

    click.echo(state.base_url)
    note(f"{state.model} is ready (pid {state.identity.guard}, log {state.log}); for engine.yaml:")
    note(f"backend: {{kind: openai, base_url: '{state.base_url}', dialect: {DIALECTS['vllm'].name}}}")


def _adapters(base_url: str) -> tuple[str, ...]:
    """Ask the server for its adapters."""
    import asyncio

    from engine.backends import OpenAIBackend

    async def ask() -> tuple[str, ...]:
        backend = OpenAIBackend(base_url, retries=0, label="the server")
        try:
            return tuple(row.id for row in (await backend.server()).models if row.parent)
        finally:
            await backend.aclose()

    return asyncio.run(ask())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Give a callback that shows on a terminal how the start goes."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        note("waiting until it is healthy")
        yield None
        return
    with console.status("starting") as line:
        yield lambda seconds, last: line.update(Text(f"starting, {seconds:.0f} s: {printable(last)[:100]}"))

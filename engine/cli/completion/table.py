"""Which parameter is completed how: by its name, in whatever verb it stands."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.shell_completion import CompletionItem

from engine.cli.completion import names, places

Completer = Callable[[click.Context, str], list[CompletionItem[str]]]

COMPLETERS: dict[str, Completer] = {
    "bundle": places.bundles,
    "bundles": places.bundles,
    "target": places.targets,
    "targets": places.files,
    "nodes": places.nodes,
    "code": names.codes,
    "params": names.params,
    "adapter": names.adapters,
    "adapters": names.adapters,
    "cases": names.cases,
    "model": names.models,
    "models": names.models,
    "plugin": names.plugins,
    "languages": names.languages,
    "types": names.node_types,
    "run": names.runs,
    "kinds": names.event_types,
    "states": names.task_states,
}
"""Completers by the name of the parameter in Python."""

OF_VERBS: dict[tuple[str, str], Completer] = {("models", "name"): names.models}
"""Completers of single verbs, by the verb (or the group that it is in) and the parameter."""


def attach(command: click.Command, verb: str = "") -> None:
    """Give the parameters of a command their completers; a group gives them to its commands when they are asked for."""
    if "get_command" in vars(command):
        return
    if isinstance(command, click.Group):
        found = command.get_command

        def get_command(ctx: click.Context, cmd_name: str) -> click.Command | None:
            inner = found(ctx, cmd_name)
            if inner is not None:
                attach(inner, verb or cmd_name)
            return inner

        # One table instead of an argument at every option of every verb, and nothing of it where no shell asks.
        command.get_command = get_command  # type: ignore[method-assign]
        return
    for param in command.params:
        completer = OF_VERBS.get((verb, param.name or "")) or COMPLETERS.get(param.name or "")
        if completer is not None and not isinstance(param.type, click.Choice):
            param.shell_complete = completer  # type: ignore[method-assign,assignment]

"""`engine grammar`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app import App
from engine.cli.console import note, project_option, report_findings
from engine.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from engine.bundle import Bundle
    from engine.grammar import Constraint
    from engine.grammar.constraint import Mode
    from engine.models import ModelPlugin

_MODES = ("auto", "ebnf", "structural_tag", "json_schema")


@click.command(name="grammar")
@click.argument("bundle")
@click.option("--plugin", help="The model family, if not the bundle's.")
@click.option("--mode", type=click.Choice(_MODES), help="How the constraint is written, if not as the bundle says.")
@click.option(
    "--dialect", metavar="NAME", help="Print the request's fields for this server software: vllm, llama_cpp …"
)
@click.option("--check", "reply", metavar="FILE", help="Check a model's reply instead; - reads it from stdin.")
@click.option("--output-format", type=click.Choice(("text", "json")), default="text", show_default=True)
@project_option
def command(
    bundle: str,
    plugin: str | None,
    mode: Mode | None,
    dialect: str | None,
    reply: str | None,
    **options: Any,
) -> int:
    """Show what holds the replies of BUNDLE, exactly as it is sent; or check a reply against it.

    A check exits with 1 where the grammar does not allow the reply, a call cannot be read or its arguments do not fit
    the tool's schema. One line end at the end of the reply's file is not part of it.
    """
    try:
        loaded = App.open(options["project"]).bundle(bundle)
    except BundleError as exc:
        return report_findings(exc)
    family = loaded.get_plugin(plugin)
    constraint = _constraint(loaded, family, mode, dialect)
    as_json = options["output_format"] == "json"
    if reply is not None:
        from engine.cli.grammar_check import check_reply

        return check_reply(_text(reply), family, loaded.tool_schemas, constraint, as_json=as_json)
    _show(constraint, dialect, as_json=as_json)
    return 0


def _constraint(bundle: Bundle, plugin: ModelPlugin, mode: Mode | None, dialect: str | None) -> Constraint:
    """Return the constraint of the first turn; with a dialect, the one that `auto` chooses for it."""
    from engine.kernel.prompt import PromptBuilder

    options = bundle.constraint_options()
    options = replace(options, mode=mode) if mode is not None else options
    kinds = None if dialect is None else _dialect(dialect).kinds
    return PromptBuilder(plugin, options).constraint(bundle.tool_schemas, kinds)


def _dialect(name: str) -> Any:
    from engine.backends.dialects import DIALECTS

    if name not in DIALECTS:
        raise ConfigError(f"there is no dialect '{name}'; known: {', '.join(sorted(DIALECTS))}")
    return DIALECTS[name]


def _show(constraint: Constraint, dialect: str | None, *, as_json: bool) -> None:
    if constraint.kind == "none":
        note("nothing holds the replies: strategy none, or no tools")
    if dialect is not None:
        _print(_dialect(dialect).constrain(constraint))
    elif as_json:
        _print({"kind": constraint.kind, "strategy": constraint.strategy, "value": constraint.value})
    elif isinstance(constraint.value, str):
        click.echo(constraint.value.rstrip("\n"))
    elif constraint.value is not None:
        _print(constraint.value)


def _print(value: Mapping[str, Any]) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=dict))


def _text(name: str) -> str:
    """Read a reply.

    Raises:
        ConfigError: The file cannot be read, or is not UTF-8.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise ConfigError(f"the reply {name} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the reply {name} is not UTF-8 at byte {error.start}") from error

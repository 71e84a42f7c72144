"""`engine grammar --check`: whether a reply is one that the grammar allows, and what its calls say."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from engine.cli.console import fail, printable
from engine.diagnostics import did_you_mean
from engine.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from engine.grammar import Constraint
    from engine.messages import ToolCall, ToolSchema
    from engine.models import ModelPlugin

_BEFORE, _AFTER = 30, 10


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A call of the reply; `problem` is empty where its arguments fit the tool's schema."""

    name: str
    arguments: Mapping[str, Any]
    problem: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a check.

    Attributes:
        kind: The kind of the constraint.
        accepted: Whether the grammar allows the reply; None where there is none to ask, or xgrammar is not installed.
        at: Characters up to which the reply was acceptable; None where it is accepted or was not checked.
        text: The text around the calls.
        calls: The calls.
        malformed: The calls that cannot be read: their text and why.
    """

    kind: str
    accepted: bool | None
    at: int | None
    text: str
    calls: tuple[ReadCall, ...]
    malformed: tuple[Mapping[str, str], ...]

    @property
    def good(self) -> bool:
        """Whether nothing is wrong, as far as it was checked."""
        return self.accepted is not False and not self.malformed and not any(call.problem for call in self.calls)


def check_reply(
    text: str, plugin: ModelPlugin, tools: Sequence[ToolSchema], constraint: Constraint, *, as_json: bool
) -> int:
    """Check a reply, print what was found and return the exit code: 0 good, 1 not, 2 good as far as it was checked."""
    accepted, at, missing = _verdict(text, constraint)
    parsed = plugin.parse_response(text, tools)
    calls = tuple(ReadCall(call.name, call.arguments, _problem(call, tools)) for call in parsed.tool_calls)
    malformed = tuple({"text": call.text, "problem": call.problem} for call in parsed.malformed)
    found = Checked(constraint.kind, accepted, at, parsed.text, calls, malformed)
    if as_json:
        click.echo(json.dumps(asdict(found), ensure_ascii=False, indent=2))
    else:
        _show(found, text, constraint)
    if found.good and missing:
        return fail(missing)
    return int(not found.good)


def _verdict(text: str, constraint: Constraint) -> tuple[bool | None, int | None, str]:
    """Return whether the grammar allows the text, up to where, and what is missing to say so."""
    from engine.grammar.compiled import COMPILED_KINDS, verify

    if constraint.kind not in COMPILED_KINDS:
        return None, None, ""
    try:
        verdict = verify(constraint, text)
    except MissingExtraError as error:
        return None, None, str(error)
    return verdict.accepted, None if verdict.accepted else verdict.at, ""


def _problem(call: ToolCall, tools: Sequence[ToolSchema]) -> str:
    from engine.grammar.argument_check import check_arguments

    schemas = {tool.name: tool.parameters for tool in tools}
    if call.name not in schemas:
        return f"there is no such tool; {did_you_mean(call.name, schemas) or 'known: ' + ', '.join(schemas)}"
    try:
        return check_arguments(schemas[call.name], call.arguments) or ""
    except ConfigError as error:
        return str(error)


def _show(found: Checked, text: str, constraint: Constraint) -> None:
    named = f"{found.kind}, {constraint.strategy}"
    if found.accepted:
        click.echo(f"{click.style('accepted', fg='green')}: the grammar ({named}) allows the reply")
    elif found.at is not None:
        click.echo(f"{click.style('not accepted', fg='red')}: the grammar ({named}) {_where(text, found.at)}")
    else:
        click.echo(f"{click.style('not checked', fg='yellow')}: no grammar was asked ({named})")
    if found.text:
        click.echo(f"text: {printable(found.text)}")
    for call in found.calls:
        click.echo(printable(f"call: {call.name} {json.dumps(call.arguments, ensure_ascii=False)}"))
        if call.problem:
            click.echo(f"  {click.style('does not fit', fg='red')}: {printable(call.problem)}")
    for bad in found.malformed:
        click.echo(f"{click.style('malformed call', fg='red')}: {printable(bad['problem'])}")


def _where(text: str, at: int) -> str:
    line, column = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
    before = json.dumps(text[max(0, at - _BEFORE) : at], ensure_ascii=False)[1:-1]
    if at == len(text):
        return f"needs more: the reply ends too early, at line {line}, column {column}, after: {printable(before)}"
    after = json.dumps(text[at : at + _AFTER], ensure_ascii=False)[1:-1]
    return f"stops at line {line}, column {column}: {printable(before)} ▸ {printable(after)}"

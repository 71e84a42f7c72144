"""What a strategy is, and the ones that write the arguments of each tool, in whichever mode."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from engine.errors import ConfigError
from engine.grammar.bounds import Bounds, fit
from engine.grammar.constraint import NO_CONSTRAINT, Constraint, ConstraintOptions, Kind
from engine.grammar.expr import Expr, Rules
from engine.grammar.frame import CallFrame, Written, call_grammar, most_calls
from engine.grammar.json_mode import Definitions, any_arguments, reply_schema
from engine.grammar.json_syntax import JsonSyntax
from engine.grammar.syntax import Syntax
from engine.grammar.tag import structural_tag
from engine.messages import ToolSchema


class ToolGrammarError(ConfigError):
    """A tool's schema has no grammar; the message names the tool, the place in its schema and why."""


class Strategy(Protocol):
    """How strictly a reply is held."""

    @property
    def name(self) -> str:
        """The name in a manifest."""
        ...

    @property
    def version(self) -> int:
        """The version; a change of what is accepted makes a new one."""
        ...

    def constraint(self, tools: Sequence[ToolSchema], frame: CallFrame, options: ConstraintOptions) -> Constraint:
        """Return the constraint of a reply that may call these tools.

        Raises:
            ToolGrammarError: A tool's schema has no grammar under this strategy.
            ConfigError: The options do not fit the strategy.
        """
        ...


@dataclass(frozen=True, slots=True)
class ToolGrammar:
    """A strategy that writes the arguments of each tool.

    Attributes:
        name: The name in a manifest.
        version: The version.
        arguments: Writes the arguments of one tool in a syntax.
        ends: Whether a token limit shrinks every default, so that the longest reply fits; otherwise only strings
            shrink.
        schema: Writes the arguments of one tool as JSON Schema: mode json_schema.
    """

    name: str
    version: int
    arguments: Callable[[ToolSchema, Rules, Bounds, Syntax], Expr]
    ends: bool = False
    schema: Callable[[ToolSchema, Definitions, Bounds], dict[str, Any]] = any_arguments

    def constraint(self, tools: Sequence[ToolSchema], frame: CallFrame, options: ConstraintOptions) -> Constraint:
        """Return the constraint in the mode of the options, `auto` being ebnf; no tools means no constraint.

        Raises:
            ToolGrammarError: A tool's schema has no grammar under this strategy and mode.
            ConfigError: Mode json_schema with a frame whose calls are not JSON, or with text.
        """
        if not tools:
            return NO_CONSTRAINT
        kind: Kind = "ebnf" if options.mode == "auto" else options.mode
        if kind == "json_schema":
            _check_json(frame, options)
        runs = kind == "ebnf" and options.matcher == "xgrammar"
        calls = most_calls(options.max_tokens) if options.parallel_calls else 1
        reply = _Reply(self, _content(tools), frame, calls, options.text == "allowed", runs)
        written = _written(reply, kind, options.bounds, options.max_tokens)
        # Whoever gets a constraint may change it, so only its text is kept.
        return Constraint(kind, written if kind == "ebnf" else json.loads(written), f"{self.name}@{self.version}")


def _content(tools: Sequence[ToolSchema]) -> str:
    try:
        return json.dumps([[tool.name, tool.parameters] for tool in tools], default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        names = ", ".join(tool.name for tool in tools)
        raise ToolGrammarError(f"the schema of a tool ({names}) is not JSON: {error}") from error


def _plain(value: object) -> object:
    return dict(value)  # type: ignore[call-overload]  # a Mapping that json does not know; anything else raises TypeError


def _check_json(frame: CallFrame, options: ConstraintOptions) -> None:
    if not isinstance(frame.syntax, JsonSyntax):
        raise ConfigError(
            "grammar.mode json_schema is for calls that are JSON; this model family writes them otherwise"
        )
    if options.text == "allowed":
        raise ConfigError(
            "grammar.mode json_schema holds the whole reply: for text: allowed, use ebnf or structural_tag"
        )


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a constraint is made of, but for its bounds."""

    strategy: ToolGrammar
    content: str
    frame: CallFrame
    calls: int
    text: bool
    runs: bool

    def tools(self) -> list[ToolSchema]:
        return [ToolSchema(name, "", parameters) for name, parameters in json.loads(self.content)]

    def arguments(self, bounds: Bounds) -> Callable[[ToolSchema, Rules], Expr]:
        return lambda tool, rules: self.strategy.arguments(tool, rules, bounds, self.frame.syntax)

    def write(self, bounds: Bounds) -> Written:
        text = bounds.string if self.text else 0
        return call_grammar(
            self.tools(), self.frame, self.arguments(bounds), calls=self.calls, text=text, runs=self.runs
        )

    def tag(self, bounds: Bounds) -> dict[str, Any]:
        text = bounds.string if self.text else 0
        return structural_tag(self.tools(), self.frame, self.arguments(bounds), calls=self.calls, text=text)

    def schema(self, bounds: Bounds) -> dict[str, Any]:
        definitions = Definitions()
        arguments = {tool.name: self.strategy.schema(tool, definitions, bounds) for tool in self.tools()}
        return reply_schema(arguments, definitions, self.frame, calls=self.calls)


@lru_cache(maxsize=256)
def _fitted(reply: _Reply, bounds: Bounds, max_tokens: int | None) -> Bounds:
    """Return the bounds with which the reply ends within its token limit; in every mode the same."""
    if max_tokens is None:
        return bounds
    if not reply.strategy.ends:
        return replace(bounds, string=min(bounds.string, max_tokens))
    # Several calls share the limit as the model likes, so a single one is measured.
    single = replace(reply, calls=1, runs=False)
    return fit(bounds, lambda smaller: single.write(smaller).longest, max_tokens)


@lru_cache(maxsize=256)
def _written(reply: _Reply, kind: Kind, bounds: Bounds, max_tokens: int | None) -> str:
    """Return the constraint's text, or its JSON; the same content is written once."""
    bounds = _fitted(reply, bounds, max_tokens)
    if kind == "ebnf":
        return reply.write(bounds).text
    return json.dumps(reply.tag(bounds) if kind == "structural_tag" else reply.schema(bounds))

"""What a strategy is, and the ones that write EBNF from the tools."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from engine.errors import ConfigError
from engine.grammar.bounds import Bounds, fit
from engine.grammar.constraint import NO_CONSTRAINT, Constraint, ConstraintOptions
from engine.grammar.expr import Expr, Rules
from engine.grammar.frame import CallFrame, Written, call_grammar
from engine.grammar.syntax import Syntax
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
    """A strategy that writes the arguments of each tool as EBNF.

    Attributes:
        name: The name in a manifest.
        version: The version.
        arguments: Writes the arguments of one tool in a syntax.
        ends: Whether a token limit shrinks every default, so that the longest reply fits; otherwise only strings
            shrink.
    """

    name: str
    version: int
    arguments: Callable[[ToolSchema, Rules, Bounds, Syntax], Expr]
    ends: bool = False

    def constraint(self, tools: Sequence[ToolSchema], frame: CallFrame, options: ConstraintOptions) -> Constraint:
        """Return the EBNF; no tools means no constraint."""
        if not tools:
            return NO_CONSTRAINT
        return Constraint("ebnf", self.grammar(tools, frame, options), f"{self.name}@{self.version}")

    def grammar(self, tools: Sequence[ToolSchema], frame: CallFrame, options: ConstraintOptions) -> str:
        """Return the grammar's text; the same content is written once."""
        try:
            content = json.dumps([[tool.name, tool.parameters] for tool in tools], default=_plain)
        except (TypeError, ValueError, RecursionError) as error:
            names = ", ".join(tool.name for tool in tools)
            raise ToolGrammarError(f"the schema of a tool ({names}) is not JSON: {error}") from error
        reply = _Reply(self, content, frame, options.parallel_calls, options.text == "allowed")
        return _fitted(reply, options.bounds, options.max_tokens)


def _plain(value: object) -> object:
    return dict(value)  # type: ignore[call-overload]  # a Mapping that json does not know; anything else raises TypeError


@dataclass(frozen=True, slots=True)
class _Reply:
    """What a grammar is made of, but for its bounds."""

    strategy: ToolGrammar
    content: str
    frame: CallFrame
    parallel: bool
    text: bool

    def write(self, bounds: Bounds) -> Written:
        tools = [ToolSchema(name, "", parameters) for name, parameters in json.loads(self.content)]
        return call_grammar(
            tools,
            self.frame,
            lambda tool, rules: self.strategy.arguments(tool, rules, bounds, self.frame.syntax),
            parallel=self.parallel,
            text=bounds.string if self.text else 0,
        )


@lru_cache(maxsize=256)
def _fitted(reply: _Reply, bounds: Bounds, max_tokens: int | None) -> str:
    if max_tokens is not None and not reply.strategy.ends:
        bounds = replace(bounds, string=min(bounds.string, max_tokens))
    elif max_tokens is not None:
        # Several calls share the limit as the model likes, so a single one is measured.
        single = replace(reply, parallel=False)
        bounds = fit(bounds, lambda smaller: single.write(smaller).longest, max_tokens)
    return reply.write(bounds).text

"""Grammars: JSON Schema to EBNF, the strategies, and the neutral constraint that they make."""

from __future__ import annotations

from collections.abc import Sequence

from engine.errors import ConfigError
from engine.grammar.argument_check import check_arguments
from engine.grammar.bounds import DEFAULT_BOUNDS, Bounds
from engine.grammar.check import GrammarReport, check_grammar, inspect_grammar
from engine.grammar.compiled import Verdict, compile_constraint, verify
from engine.grammar.constraint import NO_CONSTRAINT, Constraint, ConstraintOptions
from engine.grammar.frame import CallFrame
from engine.grammar.json_mode import json_inexpressible
from engine.grammar.options_check import check_options
from engine.grammar.ordering import order_arguments
from engine.grammar.schema import Problem, inexpressible
from engine.grammar.strategies import STRATEGIES, Strategy, ToolGrammarError, resolve_strategy
from engine.grammar.syntax import ESCAPE_SYNTAX, JSON_SYNTAX, PARAMETER_SYNTAX, Syntax
from engine.messages import ToolSchema


def tools_grammar(tools: Sequence[ToolSchema], frame: CallFrame, options: ConstraintOptions) -> str:
    """Return the EBNF of a reply that may call these tools.

    Raises:
        ConfigError: The strategy does not exist or makes no EBNF, or there are no tools.
        ToolGrammarError: A tool's schema has no grammar.
    """
    constraint = resolve_strategy(options.strategy).constraint(tools, frame, options)
    if not isinstance(constraint.value, str):
        raise ConfigError(f"grammar strategy '{options.strategy}' makes no EBNF for {len(tools)} tools")
    return constraint.value


__all__ = [
    "DEFAULT_BOUNDS",
    "ESCAPE_SYNTAX",
    "JSON_SYNTAX",
    "NO_CONSTRAINT",
    "PARAMETER_SYNTAX",
    "STRATEGIES",
    "Bounds",
    "CallFrame",
    "Constraint",
    "ConstraintOptions",
    "GrammarReport",
    "Problem",
    "Strategy",
    "Syntax",
    "ToolGrammarError",
    "Verdict",
    "check_arguments",
    "check_grammar",
    "check_options",
    "compile_constraint",
    "inexpressible",
    "inspect_grammar",
    "json_inexpressible",
    "order_arguments",
    "resolve_strategy",
    "tools_grammar",
    "verify",
]

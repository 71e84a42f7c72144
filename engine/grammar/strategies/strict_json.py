"""strict_json: a known tool name, then any well-formed JSON object of bounded size."""

from __future__ import annotations

from engine.grammar.bounds import Bounds
from engine.grammar.expr import Expr, Rules
from engine.grammar.strategies.base import ToolGrammar
from engine.grammar.syntax import Syntax
from engine.grammar.values import any_object
from engine.messages import ToolSchema


def _arguments(tool: ToolSchema, rules: Rules, bounds: Bounds, syntax: Syntax) -> Expr:  # noqa: ARG001 - one signature for all strategies
    return any_object(rules, bounds, syntax)


STRICT_JSON = ToolGrammar("strict_json", 1, _arguments)

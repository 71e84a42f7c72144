"""strict_json: a known tool name, then any well-formed JSON object of bounded size."""

from __future__ import annotations

from engine.grammar.bounds import Bounds
from engine.grammar.expr import Expr, Rules
from engine.grammar.json_values import any_object
from engine.grammar.strategies.base import ToolGrammar
from engine.messages import ToolSchema


def _arguments(tool: ToolSchema, rules: Rules, bounds: Bounds) -> Expr:  # noqa: ARG001 - one signature for all strategies
    return any_object(rules, bounds)


STRICT_JSON = ToolGrammar("strict_json", 1, _arguments)

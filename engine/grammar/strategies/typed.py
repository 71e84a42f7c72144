"""typed: a known tool name, then arguments that satisfy its schema."""

from __future__ import annotations

from engine.grammar.bounds import Bounds
from engine.grammar.expr import Expr, Rules
from engine.grammar.schema import write_arguments
from engine.grammar.strategies.base import ToolGrammar, ToolGrammarError
from engine.grammar.syntax import Syntax
from engine.messages import ToolSchema


def _arguments(tool: ToolSchema, rules: Rules, bounds: Bounds, syntax: Syntax) -> Expr:
    found, problems = write_arguments(tool.parameters, rules, bounds, syntax)
    refused = next((problem for problem in problems if problem.refused), None)
    if found is None or refused is not None:
        where = f"{refused.path or 'its schema'}: {refused.keyword}: {refused.reason}" if refused else "its schema"
        raise ToolGrammarError(
            f"tool '{tool.name}' has no typed grammar: {where}; change the schema or use strategy strict_json"
        )
    return found


TYPED = ToolGrammar("typed", 1, _arguments, ends=True)

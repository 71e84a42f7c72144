"""typed: a known tool name, then arguments that satisfy its schema."""

from __future__ import annotations

from typing import Any, TypeVar

from engine.grammar.bounds import Bounds
from engine.grammar.expr import Expr, Rules
from engine.grammar.json_mode import Definitions, typed_schema
from engine.grammar.schema import write_arguments
from engine.grammar.strategies.base import ToolGrammar, ToolGrammarError
from engine.grammar.syntax import Syntax
from engine.grammar.walk import Problem
from engine.messages import ToolSchema

T = TypeVar("T")


def _arguments(tool: ToolSchema, rules: Rules, bounds: Bounds, syntax: Syntax) -> Expr:
    return _sound(tool, *write_arguments(tool.parameters, rules, bounds, syntax))


def _schema(tool: ToolSchema, definitions: Definitions, bounds: Bounds) -> dict[str, Any]:
    return _sound(tool, *typed_schema(tool.parameters, definitions, bounds))


def _sound(tool: ToolSchema, found: T | None, problems: list[Problem]) -> T:
    refused = next((problem for problem in problems if problem.refused), None)
    if found is None or refused is not None:
        where = f"{refused.path or 'its schema'}: {refused.keyword}: {refused.reason}" if refused else "its schema"
        raise ToolGrammarError(
            f"tool '{tool.name}' has no typed grammar: {where}; change the schema or use strategy strict_json"
        )
    return found


TYPED = ToolGrammar("typed", 1, _arguments, ends=True, schema=_schema)

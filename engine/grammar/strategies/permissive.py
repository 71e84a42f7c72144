"""permissive: a known tool name, then arguments of any text."""

from __future__ import annotations

from engine.grammar.bounds import Bounds
from engine.grammar.charset import ALL, complement
from engine.grammar.charset import char_class as one_of
from engine.grammar.expr import Expr, Rules, literal, sequence
from engine.grammar.marked import text_without
from engine.grammar.strategies.base import ToolGrammar
from engine.grammar.syntax import JSON_SYNTAX, Syntax
from engine.messages import ToolSchema


def _arguments(tool: ToolSchema, rules: Rules, bounds: Bounds, syntax: Syntax) -> Expr:  # noqa: ARG001 - one signature for all strategies
    first, last = map(literal, syntax.braces)
    return rules.add("arguments", sequence(first, _anything(rules, bounds.string, syntax), last))


def _anything(rules: Rules, most: int, syntax: Syntax) -> Expr:
    """Match any text that cannot run past the end of the call."""
    # JSON forbids control characters in strings, so the text cannot run past a frame that closes after a line break.
    chars = complement(((0, 0x1F), (0x7F, 0x7F))) if syntax.name == JSON_SYNTAX.name else ALL
    if syntax.end:
        return text_without(rules, syntax.end, (0, most), chars, lambda spelled, _: one_of(spelled))
    return rules.repeat(one_of(chars), 0, most, "anything")


PERMISSIVE = ToolGrammar("permissive", 1, _arguments)

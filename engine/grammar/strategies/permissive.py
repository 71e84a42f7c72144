"""permissive: a known tool name, then braces with any text between them."""

from __future__ import annotations

from engine.grammar.bounds import Bounds
from engine.grammar.charset import char_class as one_of
from engine.grammar.charset import complement
from engine.grammar.expr import Expr, Rules, literal, sequence
from engine.grammar.strategies.base import ToolGrammar
from engine.grammar.syntax import Syntax
from engine.messages import ToolSchema


def _arguments(tool: ToolSchema, rules: Rules, bounds: Bounds, syntax: Syntax) -> Expr:  # noqa: ARG001 - one signature for all strategies
    # No control characters: JSON forbids them in strings, and so the text cannot run past a frame that closes after
    # a line break.
    char = one_of(complement(((0, 0x1F), (0x7F, 0x7F))))
    body = rules.repeat(char, 0, bounds.string, "anything")
    return rules.add("arguments", sequence(literal("{"), body, literal("}")))


PERMISSIVE = ToolGrammar("permissive", 1, _arguments)

"""permissive: a known tool name, then arguments of any text."""

from __future__ import annotations

from dataclasses import replace

from engine.grammar.automaton import text_until
from engine.grammar.bounds import Bounds
from engine.grammar.charset import ALL, Intervals, complement, intersect, of
from engine.grammar.charset import char_class as one_of
from engine.grammar.expr import Expr, Rules, choice, literal, sequence
from engine.grammar.marked import text_without
from engine.grammar.runs import text_in_runs
from engine.grammar.strategies.base import ToolGrammar
from engine.grammar.syntax import Syntax
from engine.grammar.text_syntax import split_speller
from engine.messages import ToolSchema

# JSON forbids control characters in strings.
_NO_CONTROL = complement(((0, 0x1F), (0x7F, 0x7F)))


def _arguments(tool: ToolSchema, rules: Rules, bounds: Bounds, syntax: Syntax) -> Expr:  # noqa: ARG001 - one signature for all strategies
    first, last = map(literal, syntax.braces)
    if syntax.end and syntax.end == syntax.braces[1]:
        return _balanced(rules, bounds, syntax.braces)
    if syntax.end and rules.runs:
        body = text_until(rules, "", syntax.end, (0, bounds.string), (ALL, ()))
    elif syntax.end:
        body = text_without(rules, syntax.end, (0, bounds.string), ALL, split_speller)
    else:
        # The text cannot run past a frame that closes after a line break.
        body = _text(rules, _NO_CONTROL, [], bounds.string, "anything")
    return rules.add("arguments", sequence(first, body, last))


def _balanced(rules: Rules, bounds: Bounds, braces: tuple[str, str]) -> Expr:
    """Match braces with any text in which braces outside of quotes come in pairs, so that it ends with the call."""
    quoted = _text(rules, _without('"\\'), [sequence(literal("\\"), one_of(_NO_CONTROL))], bounds.string, "quoted")
    parts = [rules.add("string", sequence(literal('"'), quoted, literal('"')))]
    if bounds.depth > 1:
        inner = bounds.inner()
        parts.append(_balanced(rules, replace(inner, depth=bounds.depth - 1), braces))
    body = _text(rules, _without('"' + "".join(braces)), parts, bounds.string, "piece")
    return rules.add("arguments", sequence(literal(braces[0]), body, literal(braces[1])))


def _text(rules: Rules, plain: Intervals, others: list[Expr], longest: int, hint: str) -> Expr:
    if rules.runs:
        return text_in_runs(rules, plain, others, (0, longest))
    return rules.repeat(choice(one_of(plain), *others), 0, longest, hint)


def _without(chars: str) -> Intervals:
    return intersect(_NO_CONTROL, complement(of(chars)))


PERMISSIVE = ToolGrammar("permissive", 1, _arguments)

"""Grammar of values without a schema, and of lists and maps of something; everything is bounded."""

from __future__ import annotations

from engine.grammar.bounds import Bounds
from engine.grammar.expr import Expr, Rules, choice, literal, optional, sequence
from engine.grammar.numeric import Range, numbers
from engine.grammar.runs import few_cuts
from engine.grammar.syntax import Syntax

_KEY_LENGTH = 200
_NOTHING_MORE = ("true", "false", "null")


def listing(rules: Rules, item: Expr, size: tuple[int, int], comma: str, hint: str) -> Expr:
    """Match a number of items, least to most, with the comma between them."""
    low, high = size
    if high <= 0:
        return literal("")
    rest = rules.repeat(sequence(literal(comma), item), max(0, low - 1), high - 1, f"more-{hint}")
    some = sequence(item, rest)
    return some if low else optional(some)


def array(rules: Rules, item: Expr, size: tuple[int, int], syntax: Syntax) -> Expr:
    """Match an array of a number of items, least to most."""
    first, last = map(literal, syntax.brackets)
    return rules.add("array", sequence(first, listing(rules, item, size, syntax.comma, "items"), last))


def mapping(rules: Rules, member: tuple[Expr, Expr], size: tuple[int, int], syntax: Syntax) -> Expr:
    """Match an object with any keys and values of some form.

    Args:
        rules: Where rules are added.
        member: The key, without what stands around it, and the value.
        size: Least and greatest number of members.
        syntax: How the object is written.
    """
    before, colon = map(literal, syntax.around_key)
    one = rules.add("member", sequence(before, member[0], colon, member[1], syntax.after_member(rules)))
    first, last = map(literal, syntax.braces)
    return rules.add("object", sequence(first, listing(rules, one, size, syntax.comma, "members"), last))


def any_value(rules: Rules, bounds: Bounds, syntax: Syntax, depth: int | None = None) -> Expr:
    """Match any value of at most `depth` levels (default: the bounds' own)."""
    depth = bounds.depth if depth is None else depth
    number = numbers(Range(), bounds.digits, rules)
    low, high = bounds.string_range(0, None)
    text = syntax.string(rules, low, high, few_cuts(high))
    flat = [*([number] if number else []), *map(literal, _NOTHING_MORE)]
    if depth <= 1:
        return rules.add("value-1", choice(text, syntax.ended(rules, choice(*flat))))
    inner = any_value(rules, bounds.inner(), syntax.compound.inner, depth - 1)
    nested = [
        any_object(rules, bounds, syntax.compound, depth),
        array(rules, inner, (0, bounds.items), syntax.compound),
    ]
    return rules.add(f"value-{depth}", choice(text, syntax.ended(rules, choice(*flat, *nested))))


def free_key(rules: Rules, bounds: Bounds, syntax: Syntax) -> Expr:
    """Match any key of an object, without what stands around it."""
    return choice(*(way.string(rules, 0, min(bounds.string, _KEY_LENGTH)) for way in syntax.keys))


def any_object(rules: Rules, bounds: Bounds, syntax: Syntax, depth: int | None = None) -> Expr:
    """Match any object of at most `depth` levels, itself included."""
    depth = bounds.depth if depth is None else depth
    key = free_key(rules, bounds.inner(), syntax)
    if depth <= 1:
        return literal("".join(syntax.braces))
    value = any_value(rules, bounds.inner(), syntax.inner, depth - 1)
    return mapping(rules, (key, value), (0, bounds.items), syntax)

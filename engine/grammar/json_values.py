"""Grammar of JSON as `json.dumps` writes it: one space after `:` and `,`, none elsewhere; everything is bounded."""

from __future__ import annotations

import json
from typing import Any

from engine.grammar.bounds import Bounds
from engine.grammar.charset import ALL, json_char
from engine.grammar.expr import Expr, Rules, choice, literal, optional, sequence
from engine.grammar.numeric import Range, numbers

QUOTE = literal('"')
_NOTHING_MORE = ("true", "false", "null")


def json_literal(value: Any) -> Expr:
    """Match exactly this value, with characters outside ASCII raw or escaped.

    Raises:
        ValueError: The value is not JSON.
    """
    try:
        escaped = json.dumps(value, allow_nan=False)
        raw = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{value!r} is not a JSON value") from error
    encodable = not any(0xD800 <= ord(char) <= 0xDFFF for char in raw)
    return choice(literal(raw), literal(escaped)) if encodable else literal(escaped)


def string(rules: Rules, low: int, high: int) -> Expr:
    """Match a JSON string of `low` to `high` characters, an escape being one character."""
    body = rules.repeat(json_char(ALL, rules), low, high, "chars")
    return rules.add(f"string-{low}-{high}", sequence(QUOTE, body, QUOTE))


def listing(rules: Rules, item: Expr, low: int, high: int, hint: str) -> Expr:
    """Match `low` to `high` items with `, ` between them."""
    if high <= 0:
        return literal("")
    rest = rules.repeat(sequence(literal(", "), item), max(0, low - 1), high - 1, f"more-{hint}")
    some = sequence(item, rest)
    return some if low else optional(some)


def array(rules: Rules, item: Expr, low: int, high: int) -> Expr:
    """Match an array of `low` to `high` items."""
    return rules.add("array", sequence(literal("["), listing(rules, item, low, high, "items"), literal("]")))


def mapping(rules: Rules, key: Expr, value: Expr, low: int, high: int) -> Expr:
    """Match an object of `low` to `high` members with any keys of that form."""
    member = rules.add("member", sequence(key, literal(": "), value))
    return rules.add("object", sequence(literal("{"), listing(rules, member, low, high, "members"), literal("}")))


def any_value(rules: Rules, bounds: Bounds, depth: int | None = None) -> Expr:
    """Match any JSON value of at most `depth` levels (default: the bounds' own)."""
    depth = bounds.depth if depth is None else depth
    number = numbers(Range(), bounds.digits, rules)
    flat = [string(rules, *bounds.string_range(0, None)), *([number] if number else []), *map(literal, _NOTHING_MORE)]
    if depth <= 1:
        return rules.add("value-1", choice(*flat))
    inner = any_value(rules, bounds.inner(), depth - 1)
    nested = [any_object(rules, bounds, depth), array(rules, inner, 0, bounds.items)]
    return rules.add(f"value-{depth}", choice(*flat, *nested))


def any_object(rules: Rules, bounds: Bounds, depth: int | None = None) -> Expr:
    """Match any JSON object of at most `depth` levels, itself included."""
    depth = bounds.depth if depth is None else depth
    key = string(rules, 0, min(bounds.inner().string, 200))
    if depth <= 1:
        return literal("{}")
    return mapping(rules, key, any_value(rules, bounds.inner(), depth - 1), 0, bounds.items)

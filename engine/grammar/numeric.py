"""Integers and numbers with exact bounds, as grammar over their digits.

The construction is the usual one for digit ranges: numbers of one length share a prefix, then the first digit that
differs splits the
range into three parts, of which the middle one is free.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor
from typing import Any

from engine.grammar.expr import EMPTY, Expr, Rules, choice, literal, optional, sequence

_DIGIT = Expr("[0-9]", 1, 1)
_LEADING = Expr("[1-9]", 1, 1)
FRACTION_DIGITS = 20


def _digits(low: int, high: int) -> Expr:
    """Match `low` to `high` digits."""
    if high <= 0:
        return EMPTY
    if (low, high) == (1, 1):
        return _DIGIT
    return Expr(f"[0-9]{{{low}}}" if low == high else f"[0-9]{{{low},{high}}}", low, high)


def _one_of(first: str, last: str) -> Expr:
    return literal(first) if first == last else Expr(f"[{first}-{last}]", 1, 1)


def _same_length(low: str, high: str) -> Expr:
    """Match the digit strings from `low` to `high`, both of one length."""
    if low == high:
        return literal(low)
    size, first, last = len(low), low[0], high[0]
    if low[1:] == "0" * (size - 1) and high[1:] == "9" * (size - 1):
        return sequence(_one_of(first, last), _digits(size - 1, size - 1))
    if first == last:
        return sequence(literal(first), _same_length(low[1:], high[1:]))
    parts = [sequence(literal(first), _same_length(low[1:], "9" * (size - 1)))]
    if int(last) - int(first) > 1:
        middle = _one_of(str(int(first) + 1), str(int(last) - 1))
        parts.append(sequence(middle, _digits(size - 1, size - 1)))
    parts.append(sequence(literal(last), _same_length("0" * (size - 1), high[1:])))
    return choice(*parts)


def _natural(low: int, high: int) -> list[Expr]:
    """Match the decimal numbers from `low` to `high`, neither negative, without leading zeros."""
    if low > high:
        return []
    if low == 0:
        return [literal("0"), *_natural(1, high)]
    least, most = len(str(low)), len(str(high))
    if least == most:
        return [_same_length(str(low), str(high))]
    parts = [_same_length(str(low), "9" * least)]
    if most - least > 1:
        parts.append(sequence(_LEADING, _digits(least, most - 2)))
    parts.append(_same_length("1" + "0" * (most - 1), str(high)))
    if low == 1 and high == 10**most - 1:
        return [sequence(_LEADING, _digits(0, most - 1))]
    return parts


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of a number, exact; None is no bound."""

    low: Fraction | None = None
    high: Fraction | None = None
    open_low: bool = False
    open_high: bool = False

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> Range:
        """Read `minimum`, `maximum` and their exclusive forms; the tighter bound wins."""
        lows = [(exact(schema[key]), key != "minimum") for key in ("minimum", "exclusiveMinimum") if key in schema]
        highs = [(exact(schema[key]), key == "maximum") for key in ("maximum", "exclusiveMaximum") if key in schema]
        low, open_low = max(lows, default=(None, False))
        high, closed_high = min(highs, key=lambda item: (item[0], item[1]), default=(None, True))
        return cls(low, high, open_low, not closed_high)


def exact(number: float) -> Fraction:
    """Return the number as it is written, not as the binary float near it."""
    return Fraction(Decimal(repr(number)))


def integers(bounds: Range, digits: int) -> Expr | None:
    """Match the integers within the bounds, of at most `digits` digits where a side is open; None if there are none."""
    low = None if bounds.low is None else (floor(bounds.low) + 1 if bounds.open_low else ceil(bounds.low))
    high = None if bounds.high is None else (ceil(bounds.high) - 1 if bounds.open_high else floor(bounds.high))
    top = 10**digits - 1
    low = (min(-top, high) if high is not None else -top) if low is None else low
    high = max(top, low) if high is None else high
    parts = [sequence(literal("-"), choice(*negative))] if (negative := _natural(max(1, -high), -low)) else []
    parts += _natural(max(0, low), high)
    return choice(*parts) if parts else None


def numbers(bounds: Range, digits: int, rules: Rules) -> Expr | None:
    """Match the decimal numbers within the bounds; exponents are allowed only where there are no bounds.

    Args:
        bounds: The bounds.
        digits: Most digits before the point where a side is open.
        rules: Where rules are added.
    """
    if bounds.low is None and bounds.high is None:
        return _free(digits, rules)
    top = Fraction(10**digits - 1)
    low, high = bounds.low, bounds.high
    low = min(-top, high - 1 if high is not None else -top) if low is None else low
    high = max(top, low + 1) if high is None else high
    flat = Range(low, high, bounds.open_low, bounds.open_high)
    parts: list[Expr] = []
    if low < 0:
        mirrored = Range(max(Fraction(0), -high), -low, flat.open_high if high <= 0 else False, flat.open_low)
        parts += [sequence(literal("-"), part) for part in _positive(mirrored)]
    if high >= 0:
        parts += _positive(Range(max(Fraction(0), low), high, flat.open_low if low >= 0 else False, flat.open_high))
    return choice(*parts) if parts else None


def _free(digits: int, rules: Rules) -> Expr:
    whole = choice(literal("0"), sequence(_LEADING, _digits(0, digits - 1)))
    fraction = rules.add("fraction", sequence(literal("."), _digits(1, FRACTION_DIGITS)))
    power = sequence(
        Expr("[eE] [+\\u002d]?", 1, 2, "sequence"), choice(_digits(1, 2), Expr("[12] [0-9]{2}", 3, 3, "sequence"))
    )
    plain = sequence(whole, optional(fraction))
    return rules.add(
        "number", sequence(optional(literal("-")), choice(plain, sequence(_DIGIT, optional(fraction), power)))
    )


def _split(number: Fraction, up: bool) -> tuple[int, str]:
    """Return the whole part and the digits after the point; a longer fraction is cut towards the inside (`up`)."""
    scale = 10**FRACTION_DIGITS
    scaled = ceil(number * scale) if up else floor(number * scale)
    whole, rest = divmod(scaled, scale)
    return whole, f"{rest:0{FRACTION_DIGITS}d}".rstrip("0")


def _positive(bounds: Range) -> list[Expr]:
    """Match numbers between two bounds that are not negative."""
    assert bounds.low is not None  # noqa: S101 - both sides are closed by the caller
    assert bounds.high is not None  # noqa: S101 - as above
    if bounds.low > bounds.high or (bounds.low == bounds.high and (bounds.open_low or bounds.open_high)):
        return []
    first, low = _split(bounds.low, up=True)
    last, high = _split(bounds.high, up=False)
    after = _Fraction(low, bounds.open_low, None, False)
    before = _Fraction("", False, high, bounds.open_high)
    if first == last:
        return _with_fraction(first, _Fraction(low, bounds.open_low, high, bounds.open_high))
    parts = _with_fraction(first, after)
    if last - first > 1:
        between = choice(*_natural(first + 1, last - 1))
        parts.append(sequence(between, optional(sequence(literal("."), _digits(1, FRACTION_DIGITS)))))
    return parts + _with_fraction(last, before)


@dataclass(frozen=True, slots=True)
class _Fraction:
    """Bounds of the digits after the point: from `low` (digits without trailing zeros) to `high` (None is no bound)."""

    low: str
    open_low: bool
    high: str | None
    open_high: bool

    def holds_zero(self) -> bool:
        """Whether no digits at all are within the bounds."""
        return not self.low and not self.open_low and not (self.high == "" and self.open_high)


def _with_fraction(whole: int, fraction: _Fraction) -> list[Expr]:
    tails = [part for part in _tails(fraction, FRACTION_DIGITS) if part.text]
    solid = [_at_least_one(part) for part in tails]
    parts = [sequence(literal(f"{whole}."), choice(*solid))] if solid else []
    return [*parts, literal(str(whole))] if fraction.holds_zero() else parts


def _at_least_one(part: Expr) -> Expr:
    """Return a run of digits that may be empty as one that may not."""
    if part.shortest:
        return part
    return Expr(part.text.replace("{0,", "{1,"), 1, part.longest, part.form)


def _tails(bounds: _Fraction, room: int) -> list[Expr]:
    """Return the digit strings of at most `room` digits within the bounds; an empty Expr ends the number."""
    if not bounds.low and not bounds.high:
        return _without_digits(bounds, room)
    if bounds.high == "" or room == 0:
        return []
    return ([EMPTY] if bounds.holds_zero() else []) + _by_first_digit(bounds, room)


def _without_digits(bounds: _Fraction, room: int) -> list[Expr]:
    """Return the tails where neither bound has a digit left: any, some digit that is not zero, or only zeros."""
    if bounds.high is None:
        return _after_zero(room) if bounds.open_low else [_digits(0, room)]
    if bounds.open_low or bounds.open_high:
        return []
    return [Expr(f'"0"{{0,{room}}}', 0, room)] if room else [EMPTY]


def _by_first_digit(bounds: _Fraction, room: int) -> list[Expr]:
    least, most = int(bounds.low[:1] or 0), 9 if bounds.high is None else int(bounds.high[0])
    low_rest = _Fraction(bounds.low[1:], bounds.open_low, None, False)
    high_rest = _Fraction("", False, None if bounds.high is None else bounds.high[1:], bounds.open_high)
    if least == most:
        return _prefixed(str(least), _Fraction(low_rest.low, bounds.open_low, high_rest.high, bounds.open_high), room)
    if least > most:
        return []
    parts = _prefixed(str(least), low_rest, room)
    if most - least > 1:
        parts.append(sequence(_one_of(str(least + 1), str(most - 1)), _digits(0, room - 1)))
    return parts + _prefixed(str(most), high_rest, room)


def _prefixed(digit: str, rest: _Fraction, room: int) -> list[Expr]:
    tails = _tails(rest, room - 1)
    return [sequence(literal(digit), choice(*tails))] if tails else []


def _after_zero(room: int) -> list[Expr]:
    """Match digits that are not all zero."""
    half = room // 2
    if room <= 0:
        return []
    if room == 1:
        return [_LEADING]
    return [sequence(Expr(f'"0"{{0,{half}}}', 0, half), _LEADING, _digits(0, room - half - 1))]

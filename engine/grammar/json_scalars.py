"""Numbers and constants of a JSON Schema that every server holds alike."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any

from engine.grammar.numeric import Range

MAX_DIGITS = 15
"""llguidance compares numbers as doubles."""
Written = dict[str, Any]


def either(parts: Sequence[Written]) -> Written:
    """Return a choice of at least one part; equal ones are merged, a choice among them is spread."""
    flat: dict[str, Written] = {}
    for part in parts:
        for one in part["anyOf"] if set(part) == {"anyOf"} else [part]:
            flat.setdefault(json.dumps(one), one)
    unique = list(flat.values())
    return unique[0] if len(unique) == 1 else {"anyOf": unique}


def integer(bounds: Range, digits: int) -> Written | None:
    """Return the schema of the integers within the bounds; an open side gets a number of digits."""
    top = 10 ** min(digits, MAX_DIGITS) - 1
    low = None if bounds.low is None else (floor(bounds.low) + 1 if bounds.open_low else ceil(bounds.low))
    high = None if bounds.high is None else (ceil(bounds.high) - 1 if bounds.open_high else floor(bounds.high))
    low = min(-top, -top if high is None else high) if low is None else low
    high = max(top, low) if high is None else high
    return {"type": "integer", "minimum": low, "maximum": high} if low <= high else None


def number(bounds: Range, digits: int) -> Written | None:
    """Return the schema of the numbers within the bounds; an open side gets a number of digits."""
    top = Fraction(10 ** min(digits, MAX_DIGITS) - 1)
    low = min(-top, -top if bounds.high is None else bounds.high - 1) if bounds.low is None else bounds.low
    high = max(top, low + 1) if bounds.high is None else bounds.high
    if low > high or (low == high and (bounds.open_low or bounds.open_high)):
        return None
    lowest = "exclusiveMinimum" if bounds.open_low else "minimum"
    highest = "exclusiveMaximum" if bounds.open_high else "maximum"
    return {"type": "number", lowest: _plain(low), highest: _plain(high)}


def _plain(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


def constants(values: Sequence[Any]) -> Written:
    """Return the schema of these values; lists and objects are spelled out, since as a text they could hold no blanks.

    Raises:
        ValueError: A value is not JSON.
    """
    try:
        json.dumps(values, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{values!r:.100} is not a JSON value") from error
    flat = [value for value in values if not isinstance(value, (Mapping, list, tuple))]
    nested = [_nested(value) for value in values if isinstance(value, (Mapping, list, tuple))]
    return either([*([{"enum": flat}] if flat else []), *nested])


def _nested(value: Any) -> Written:
    if isinstance(value, Mapping):
        return closed_object({name: constants([inner]) for name, inner in value.items()}, list(value))
    return exact_array([constants([item]) for item in value])


def closed_object(properties: Mapping[str, Written], required: Sequence[str]) -> Written:
    """Return the schema of an object with these properties alone; llama.cpp demands the required ones first."""
    ordered = {name: properties[name] for name in sorted(properties, key=lambda name: name not in required)}
    return {
        "type": "object",
        "properties": ordered,
        "required": [name for name in ordered if name in required],
        "additionalProperties": False,
    }


def exact_array(items: Sequence[Written]) -> Written:
    """Return the schema of an array with exactly these items."""
    if not items:
        return {"type": "array", "items": {"type": "null"}, "maxItems": 0}
    return {"type": "array", "prefixItems": list(items), "minItems": len(items), "maxItems": len(items)}

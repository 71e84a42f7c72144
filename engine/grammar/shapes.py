"""Whether the keywords of a schema object have their proper form, and which ones a grammar leaves to a check."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

TYPES = ("string", "integer", "number", "boolean", "null", "object", "array")


def _count(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9 and value == int(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300  # no infinity, no NaN


def _schema(value: Any) -> bool:
    return isinstance(value, (Mapping, bool))


def _list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _schemas(value: Any) -> bool:
    return _list(value) and len(value) > 0 and all(map(_schema, value))


def _schema_map(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) and _schema(item) for name, item in value.items())


def _type(value: Any) -> bool:
    names = [value] if isinstance(value, str) else value
    return _list(names) and len(names) > 0 and all(isinstance(name, str) and name in TYPES for name in names)


def _names(value: Any) -> bool:
    return _list(value) and all(isinstance(name, str) for name in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


_FORMS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _count),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _number),
    **dict.fromkeys(("items", "additionalProperties", "propertyNames"), _schema),
    **dict.fromkeys(("anyOf", "oneOf", "allOf", "prefixItems"), _schemas),
    **dict.fromkeys(("properties", "patternProperties"), _schema_map),
    **dict.fromkeys(("pattern", "$ref"), _text),
    "type": _type,
    "required": _names,
    "enum": lambda value: _list(value) and len(value) > 0,
}

_ALWAYS = ("not", "if")
_UNCHECKED_BY_TYPE = {
    "object": ("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties"),
    "array": ("contains", "uniqueItems", "unevaluatedItems"),
    "integer": ("multipleOf",),
    "number": ("multipleOf",),
}


def malformed(schema: Mapping[str, Any]) -> str | None:
    """Return the first keyword whose value has the wrong form, or None."""
    return next((key for key, fits in _FORMS.items() if key in schema and not fits(schema[key])), None)


def left_to_check(schema: Mapping[str, Any], types: Sequence[str]) -> list[str]:
    """Return the keywords that matter for these types and that a grammar does not express."""
    found = [key for key in _ALWAYS if key in schema]
    for name in types:
        found += [
            key
            for key in _UNCHECKED_BY_TYPE.get(name, ())
            if key in schema and key not in found and not _vacuous(key, schema[key])
        ]
    return found


def _vacuous(key: str, value: Any) -> bool:
    return (key == "uniqueItems" and value is False) or (key == "multipleOf" and value == 1)


_HINTS = {
    "object": (
        "properties",
        "required",
        "additionalProperties",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"),
    "string": ("minLength", "maxLength", "pattern"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


def types_meant(schema: Mapping[str, Any]) -> list[str]:
    """Return the types of a schema; without `type`, those that its keywords speak of; an empty list means any value."""
    if "type" in schema:
        names = schema["type"]
        return [names] if isinstance(names, str) else list(dict.fromkeys(names))
    return [name for name, keys in _HINTS.items() if any(key in schema for key in keys)]


def has_type(value: Any, names: Sequence[str]) -> bool:
    """Whether a JSON value has one of the types."""
    if value is None or isinstance(value, bool):
        return ("null" if value is None else "boolean") in names
    if isinstance(value, (int, float)):
        return "number" in names or ("integer" in names and value == int(value))
    kinds = ((str, "string"), (Mapping, "object"), (list, "array"))
    return any(isinstance(value, kind) and name in names for kind, name in kinds)

"""The subset of JSON Schema that OpenAI's strict mode takes.

Source: OpenAI's guide to structured outputs, "Supported schemas": the root is an object and no anyOf; every object
closes itself and requires all of its properties; at most 5,000 properties, 10 levels, 1,000 enum values, 120,000
characters of names and values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_KEYWORDS = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"),
        *("$ref", "$defs", "definitions", "title", "description"),
        *("pattern", "format", "multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        *("minItems", "maxItems"),
    }
)
_MOST_PROPERTIES, _MOST_LEVELS, _MOST_VALUES, _MOST_CHARACTERS = 5000, 10, 1000, 120_000

Place = tuple[str, int, Mapping[str, Any]]


def why_not_strict(schema: Mapping[str, Any]) -> str | None:
    """Return what keeps a schema from being taken, with its place; None when nothing does."""
    try:
        return _why_not(schema)
    except (AttributeError, TypeError):
        return "it holds something else than a schema where one belongs"
    except RecursionError:
        return f"it is deeper than {_MOST_LEVELS} levels"


def _why_not(schema: Mapping[str, Any]) -> str | None:
    if schema.get("type") != "object" or "anyOf" in schema:
        return "its root has to be an object, and no anyOf"
    places: list[Place] = []
    for path, depth, part in _parts("#", 1, schema):
        if depth > _MOST_LEVELS:
            return f"{path} is deeper than {_MOST_LEVELS} levels"
        places.append((path, depth, part))
    problems = (_problem(path, part) for path, _, part in places)
    return next((problem for problem in problems if problem is not None), None) or _too_large(places)


def _parts(path: str, depth: int, schema: Any) -> Iterator[Place]:
    """Yield a schema and those inside it; the depth counts objects and arrays."""
    if not isinstance(schema, Mapping):
        raise TypeError(path)
    yield path, depth, schema
    if depth > _MOST_LEVELS:
        return
    for key in ("properties", "$defs", "definitions"):
        deeper = depth + (key == "properties")
        for name, part in (schema.get(key) or {}).items():
            yield from _parts(f"{path}/{key}/{name}", deeper, part)
    for number, part in enumerate(schema.get("anyOf") or ()):
        yield from _parts(f"{path}/anyOf/{number}", depth, part)
    if "items" in schema:
        yield from _parts(f"{path}/items", depth + 1, schema["items"])


def _problem(path: str, part: Mapping[str, Any]) -> str | None:
    unknown = sorted(set(part) - _KEYWORDS)
    if unknown:
        return f"{path} has {', '.join(unknown)}"
    types = part.get("type")
    if "properties" not in part and types != "object" and not (isinstance(types, list) and "object" in types):
        return None
    if part.get("additionalProperties") is not False:
        return f"{path} does not say additionalProperties: false"
    optional = sorted(set(part.get("properties") or {}) - set(part.get("required") or ()))
    return f"{path} does not require {', '.join(optional)}" if optional else None


def _too_large(places: list[Place]) -> str | None:
    names = [name for _, _, part in places for name in (part.get("properties") or {})]
    definitions = [name for _, _, part in places for key in ("$defs", "definitions") for name in part.get(key) or {}]
    values = [value for _, _, part in places for value in part.get("enum") or ()]
    constants = [part["const"] for _, _, part in places if "const" in part]
    characters = sum(len(str(text)) for text in (*names, *definitions, *values, *constants))
    for count, most, what in (
        (len(names), _MOST_PROPERTIES, "properties"),
        (len(values), _MOST_VALUES, "enum values"),
        (characters, _MOST_CHARACTERS, "characters in names and values"),
    ):
        if count > most:
            return f"it has {count:,} {what}, and {most:,} are allowed"
    return None

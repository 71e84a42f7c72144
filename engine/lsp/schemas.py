"""What the JSON Schemas say about a place: keys, values and their docs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.manifest import JsonPath, validator
from engine.manifest.schema import Kind

Schema = Mapping[str, Any]

# A param is a JSON Schema of the author's own; the keywords that the engine's prompts, flags and checks make use of.
_PARAM: Schema = {
    "type": "object",
    "properties": {
        "type": {
            "enum": ["string", "integer", "number", "boolean", "array", "object"],
            "description": "The type of the value.",
        },
        "description": {"type": "string", "description": "What the param is for."},
        "default": {"description": "The value when nothing sets it."},
        "enum": {"type": "array", "items": {}, "description": "The allowed values."},
        "minimum": {"type": "number", "description": "Least number."},
        "maximum": {"type": "number", "description": "Greatest number."},
        "minLength": {"type": "integer", "description": "Least number of characters."},
        "maxLength": {"type": "integer", "description": "Greatest number of characters."},
        "pattern": {"type": "string", "description": "Regular expression (ECMA-262) that a text must match."},
        "items": {"type": "object", "description": "The schema of each item of a list."},
    },
    "required": ["type"],
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key that a mapping may have."""

    name: str
    schema: Schema
    required: bool


def schemas_at(kind: Kind, path: JsonPath) -> list[Schema]:
    """Return the schemas that hold for a value, one for each form that it may have; none for an unknown path."""
    found = list(_forms([validator(kind).schema]))
    for depth, step in enumerate(path):
        if kind == "bundle" and path[:1] == ("params",) and depth == 1:
            found = [_PARAM]
        else:
            found = list(_forms(below for schema in found for below in _step(schema, step)))
    return found


def _forms(schemas: Iterable[Any]) -> Iterator[Schema]:
    """Yield the schemas with their unions taken apart; the docs of a union hold for its forms."""
    for schema in schemas:
        if not isinstance(schema, Mapping):
            continue
        branches = schema.get("anyOf") or schema.get("oneOf")
        if isinstance(branches, Sequence) and any(set(branch) != {"required"} for branch in branches):
            outer = {name: schema[name] for name in ("description", "default", "examples") if name in schema}
            yield from _forms({**branch, **outer, **_inner(branch)} for branch in branches)
        else:
            yield schema


def _inner(branch: Schema) -> dict[str, Any]:
    return {"form": branch["description"]} if "description" in branch else {}


def _step(schema: Schema, step: str | int) -> Iterator[Any]:
    if isinstance(step, int):
        yield schema.get("items")
        return
    properties = schema.get("properties", {})
    if step in properties:
        yield properties[step]
        return
    yield schema.get("additionalProperties")
    yield from schema.get("patternProperties", {}).values()


def keys_at(kind: Kind, path: JsonPath, present: Sequence[str]) -> list[Key]:
    """Return the keys that a mapping may still have: the required ones first, then in the order of the format.

    Args:
        kind: The document.
        path: The mapping.
        present: The keys that it has; they choose among several forms.
    """
    forms = [schema for schema in schemas_at(kind, path) if schema.get("properties")]
    fitting = [schema for schema in forms if all(key in schema["properties"] for key in present)] or forms
    keys: dict[str, Key] = {}
    for schema in fitting:
        required = schema.get("required", ())
        for name, inner in schema["properties"].items():
            if name not in present:
                keys.setdefault(name, Key(name, inner, name in required))
    return sorted(keys.values(), key=lambda key: not key.required)


def values_of(schema: Schema) -> list[Any]:
    """Return the values that a schema lists: an enum, a constant, or both truth values."""
    if "const" in schema:
        return [schema["const"]]
    if "enum" in schema:
        return list(schema["enum"])
    return [True, False] if schema.get("type") == "boolean" else []


def type_of(schema: Schema) -> str:
    """Say what kind of value a schema takes, such as `text` or `list of text`."""
    forms = [form for form in _forms([schema]) if form.get("type") != "null"]
    return " or ".join(dict.fromkeys(_type(form) for form in forms)) or "any value"


def _type(schema: Schema) -> str:
    listed = values_of(schema)
    if listed:
        return " | ".join(json.dumps(value) if not isinstance(value, str) else value for value in listed)
    name = schema.get("type")
    if name == "array":
        items = schema.get("items")
        return f"list of {type_of(items)}" if items else "list"
    names = {"string": "text", "integer": "whole number", "object": "mapping", "boolean": "true | false"}
    return names.get(str(name), str(name)) if name else "any value"


def docs_of(name: str, schema: Schema, *, required: bool = False) -> str:
    """Return a key's docs as Markdown: its type, what it is for, its default, its bounds and examples."""
    head = f"`{name}`: {type_of(schema)}" + (", required" if required else "")
    parts = [head]
    forms = list(_forms([schema]))
    description = schema.get("description") or next((form["form"] for form in forms if "form" in form), None)
    parts += [description] if description else []
    default = schema.get("default")
    if default not in (None, [], {}, ()):
        parts.append(f"Default: `{json.dumps(default, ensure_ascii=False)}`")
    bounds = [text for form in forms for text in _bounds(form)]
    if bounds:
        parts.append(", ".join(dict.fromkeys(bounds)))
    examples = schema.get("examples")
    if isinstance(examples, Sequence) and not isinstance(examples, str) and examples:
        shown = "\n".join(f"- `{json.dumps(value, ensure_ascii=False)}`" for value in examples[:3])
        parts.append(f"Examples:\n{shown}")
    return "\n\n".join(parts)


_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "pattern": "of the form `{}`",
}


def _bounds(schema: Schema) -> Iterator[str]:
    for keyword, text in _BOUNDS.items():
        if keyword in schema and schema[keyword] != 0:
            yield text.format(schema[keyword])

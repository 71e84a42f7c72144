"""Objects and arrays of a JSON Schema that every server holds alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.grammar.bounds import Bounds
from engine.grammar.json_pattern import MAX_STRING, text
from engine.grammar.json_scalars import Written, closed_object, either, exact_array, number
from engine.grammar.numeric import Range

if TYPE_CHECKING:
    from engine.grammar.json_mode import Definitions, JsonWriter

_MAX_LENGTHS = 16
_CHECKED = "is checked after parsing"


def write_object(writer: JsonWriter, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
    """Return the schema of an object: its properties and no others, or else free keys; as `containers.write_object`."""
    properties = dict(schema.get("properties", {}))
    required = [str(name) for name in schema.get("required", ())]
    outside = schema.get("additionalProperties", True)
    properties.update({name: outside for name in required if name not in properties})
    if not properties:
        return _free(writer, schema, path, depth)
    for key in ("patternProperties", "propertyNames"):
        if key in schema:
            writer.report(path, key, f"beside properties it {_CHECKED}")
    if schema.get("minProperties", 0) > len(required):
        writer.report(path, "minProperties", f"beside properties it {_CHECKED}")
    if schema.get("maxProperties", len(properties)) < len(properties):
        writer.report(path, "maxProperties", f"beside properties it {_CHECKED}")
    members: dict[str, Written] = {}
    for name, inner in properties.items():
        value = writer.write(inner, f"{path}/properties/{name}", depth)
        if value is not None:
            members[name] = value
        elif name in required:
            return None
    return closed_object(members, required)


def _free(writer: JsonWriter, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
    """Return the schema of an object with keys of the model's choice; what the keys look like is not held."""
    low, asked = int(schema.get("minProperties", 0)), schema.get("maxProperties")
    most = max(low, writer.bounds.items) if asked is None else int(asked)
    patterns, inner = schema.get("patternProperties", {}), schema.get("additionalProperties", True)
    if patterns and inner is False and len(patterns) == 1:
        inner = next(iter(patterns.values()))
    for key in ("patternProperties", "propertyNames"):
        if key in schema and schema[key] not in (True, {}):
            writer.report(path, key, _CHECKED)
    if low or asked is not None:
        writer.report(path, "minProperties" if low else "maxProperties", "not every llama.cpp counts free keys")
    with writer.inside():
        value = None if inner is False else writer.write(inner, f"{path}/additionalProperties", depth)
    if schema.get("propertyNames", True) is False or value is None or most == 0:
        return closed_object({}, []) if low == 0 else None
    return mapping(value, low, most) if low <= most else None


def mapping(value: Written, low: int, most: int) -> Written:
    """Return the schema of an object with any keys."""
    least = {"minProperties": low} if low else {}
    return {"type": "object", "additionalProperties": value, **least, "maxProperties": most}


def write_array(writer: JsonWriter, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
    """Return the schema of an array; see `containers.write_array`."""
    low, asked = int(schema.get("minItems", 0)), schema.get("maxItems")
    high = max(low, writer.bounds.items) if asked is None else int(asked)
    if low > high:
        return None
    fixed = schema.get("prefixItems")
    with writer.inside():
        item = writer.write(schema.get("items", not fixed), f"{path}/items", depth)
    if fixed:
        return _tuple(writer, schema, item, (path, depth))
    if item is None or high == 0:
        return exact_array([]) if low == 0 else None
    return {"type": "array", "items": item, "minItems": low, "maxItems": high}


def _tuple(writer: JsonWriter, schema: Mapping[str, Any], item: Written | None, at: tuple[str, int]) -> Written | None:
    """Return a choice of arrays of one length each: only those are held by every server."""
    low, asked = int(schema.get("minItems", 0)), schema.get("maxItems")
    path, depth = at
    parts: list[Written] = []
    for index, inner in enumerate(schema["prefixItems"]):
        part = writer.write(inner, f"{path}/prefixItems/{index}", depth)
        if part is None:
            item = None
            break
        parts.append(part)
    high = len(parts) if item is None else len(parts) + _MAX_LENGTHS
    high = high if asked is None else min(int(asked), high)
    if item is not None and asked is not None and int(asked) > high:
        writer.report(path, "items", f"more than {_MAX_LENGTHS} items after prefixItems are not held", refused=True)
    more = [] if item is None else [item] * _MAX_LENGTHS
    lengths = [exact_array([*parts, *more][:count]) for count in range(low, high + 1)]
    return either(lengths) if lengths else None


def any_value(definitions: Definitions, bounds: Bounds, depth: int | None = None) -> Written:
    """Return the schema of any JSON value of at most `depth` levels (default: the bounds' own)."""
    depth = bounds.depth if depth is None else depth
    figure = number(Range(), bounds.digits)
    size = min(bounds.string, MAX_STRING)
    flat = [definitions.add(f"text-0-{size}", text(0, size)), figure or {}, {"type": "boolean"}, {"type": "null"}]
    if depth <= 1:
        return definitions.add("value", either(flat))
    inner = any_value(definitions, bounds.inner(), depth - 1)
    items = {"type": "array", "items": inner, "minItems": 0, "maxItems": bounds.items}
    return definitions.add("value", either([*flat, mapping(inner, 0, bounds.items), items]))


def any_object(definitions: Definitions, bounds: Bounds) -> Written:
    """Return the schema of any JSON object of as many levels as the bounds allow."""
    return mapping(any_value(definitions, bounds.inner(), bounds.depth - 1), 0, bounds.items)

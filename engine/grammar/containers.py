"""Objects and arrays of a schema as grammar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.grammar.expr import EMPTY, Expr, choice, literal, optional, sequence
from engine.grammar.values import array, free_key, mapping

if TYPE_CHECKING:
    from engine.grammar.schema import SchemaWriter
    from engine.grammar.syntax import Syntax


def write_object(writer: SchemaWriter, schema: Mapping[str, Any], path: str, depth: int) -> Expr | None:
    """Match an object: its properties in the schema's order, optional ones in any subset, or else free keys.

    Args:
        writer: The walk that this belongs to.
        schema: A schema whose types include object.
        path: Its JSON pointer.
        depth: How deep the walk is.
    """
    properties = dict(schema.get("properties", {}))
    required = [str(name) for name in schema.get("required", ())]
    outside = schema.get("additionalProperties", True)
    properties.update({name: outside for name in required if name not in properties})
    if not properties:
        return _free(writer, schema, path, depth)
    for key in ("patternProperties", "propertyNames"):
        if key in schema:
            writer.report(path, key, "beside properties it is checked after parsing")
    _report_counts(writer, schema, path, len(properties), len(required))
    members: list[tuple[Expr, bool]] = []
    for name, inner in properties.items():
        member = _member(writer, name, inner, f"{path}/properties/{name}", depth)
        if member is not None:
            members.append((member, name in required))
        elif name in required:
            return None
    first, last = map(literal, writer.syntax.braces)
    return writer.rules.add("object", sequence(first, _members(writer, members), last))


def _report_counts(writer: SchemaWriter, schema: Mapping[str, Any], path: str, named: int, required: int) -> None:
    if schema.get("minProperties", 0) > required:
        writer.report(path, "minProperties", "beside properties it is checked after parsing")
    if schema.get("maxProperties", named) < named:
        writer.report(path, "maxProperties", "beside properties it is checked after parsing")


def _member(writer: SchemaWriter, name: str, inner: Any, path: str, depth: int) -> Expr | None:
    """Match a named member; None where its value has no grammar or the syntax cannot write its name."""
    try:
        key = writer.syntax.key(name)
    except ValueError as error:
        writer.report(path, "properties", str(error), refused=True)
        return None
    with writer.member(path):
        value = writer.write(inner, path, depth)
    return None if value is None else sequence(key, value, writer.syntax.after_member(writer.rules))


def _members(writer: SchemaWriter, members: list[tuple[Expr, bool]]) -> Expr:
    first = next((index for index, (_, needed) in enumerate(members) if needed), None)
    if first is not None:
        before = [optional(sequence(member, literal(writer.syntax.comma))) for member, _ in members[:first]]
        return sequence(*before, members[first][0], _after(writer, members[first + 1 :]))
    starts = [sequence(member, _after(writer, members[index + 1 :])) for index, (member, _) in enumerate(members)]
    return optional(choice(*starts)) if starts else EMPTY


def _after(writer: SchemaWriter, members: list[tuple[Expr, bool]]) -> Expr:
    """Match the members that follow one: each with its comma."""
    tail = EMPTY
    for member, needed in reversed(members):
        part = sequence(literal(writer.syntax.comma), member)
        tail = writer.rules.add("rest", sequence(part if needed else optional(part), tail))
    return tail


def _free(writer: SchemaWriter, schema: Mapping[str, Any], path: str, depth: int) -> Expr | None:
    """Match an object with keys of the model's choice, as of `dict[str, T]`."""
    low, high = int(schema.get("minProperties", 0)), schema.get("maxProperties")
    most = max(low, writer.bounds.items) if high is None else int(high)
    patterns = schema.get("patternProperties", {})
    closed = schema.get("additionalProperties", True) is False
    inner, names = schema.get("additionalProperties", True), schema.get("propertyNames", True)
    if patterns and closed and len(patterns) == 1 and names is True:
        pattern, inner = next(iter(patterns.items()))
        names, closed = {"pattern": pattern}, False
    elif patterns:
        writer.report(path, "patternProperties", "is checked after parsing")
    with writer.inside():
        key = _free_key(writer, names, path, depth)
        with writer.member(f"{path}/additionalProperties"):
            value = None if closed or key is None else writer.write(inner, f"{path}/additionalProperties", depth)
    if key is None or value is None or most == 0:
        return literal("".join(writer.syntax.braces)) if low == 0 else None
    if low > most:
        return None
    return mapping(writer.rules, (key, value), (low, most), writer.syntax)


def _free_key(writer: SchemaWriter, names: Any, path: str, depth: int) -> Expr | None:
    if names is True:
        return free_key(writer.rules, writer.bounds, writer.syntax)
    parts = [_key_in(writer, way, names, path, depth) for way in writer.syntax.keys] if names else []
    found = [part for part in parts if part is not None]
    return choice(*found) if found else None


def _key_in(writer: SchemaWriter, way: Syntax, names: Any, path: str, depth: int) -> Expr | None:
    with writer.writing(way):
        return writer.write({**names, "type": "string"}, f"{path}/propertyNames", depth)


def write_array(writer: SchemaWriter, schema: Mapping[str, Any], path: str, depth: int) -> Expr | None:
    """Match an array: the fixed first items, then up to `maxItems` of the same kind.

    Args:
        writer: The walk that this belongs to.
        schema: A schema whose types include array.
        path: Its JSON pointer.
        depth: How deep the walk is.
    """
    low, asked = int(schema.get("minItems", 0)), schema.get("maxItems")
    high = max(low, writer.bounds.items) if asked is None else int(asked)
    if low > high:
        return None
    fixed = schema.get("prefixItems")
    items = schema.get("items", not fixed)
    with writer.inside(), writer.writing(writer.syntax.inner):
        item = writer.write(items, f"{path}/items", depth)
    if fixed:
        return _tuple(writer, fixed, item, (low, high), (path, depth))
    if item is None or high == 0:
        return literal("".join(writer.syntax.brackets)) if low == 0 else None
    return array(writer.rules, item, (low, high), writer.syntax)


def _tuple(
    writer: SchemaWriter, fixed: list[Any], item: Expr | None, size: tuple[int, int], at: tuple[str, int]
) -> Expr | None:
    low, high = size
    path, depth = at
    parts: list[Expr] = []
    for index, inner in enumerate(fixed[:high]):
        with writer.writing(writer.syntax.inner):
            part = writer.write(inner, f"{path}/prefixItems/{index}", depth)
        if part is None:
            break
        parts.append(part)
    count = len(parts)
    more = item is not None and count == len(fixed) and high > count
    if low > count and not more:
        return None
    tail, comma = EMPTY, literal(writer.syntax.comma)
    if more and item is not None:
        tail = writer.rules.repeat(sequence(comma, item), max(0, low - count), high - count, "more-items")
    for index in range(count - 1, -1, -1):
        body = sequence(*([comma] if index else []), parts[index], tail)
        tail = body if index < low else optional(body)
    first, last = map(literal, writer.syntax.brackets)
    return writer.rules.add("tuple", sequence(first, tail, last))

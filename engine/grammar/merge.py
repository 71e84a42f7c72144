"""Two JSON Schemas that must both hold, as one: how siblings of anyOf, oneOf, allOf and $ref come into the branches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any] | bool

ANNOTATIONS = frozenset(
    ("title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly", "format",
    "contentMediaType",
     "contentEncoding", "$schema", "$id", "$anchor", "$defs", "definitions", "discriminator")
)  # fmt: skip
_MAX_PRODUCT = 64


class UnmergeableError(ValueError):
    """Two schemas cannot be joined exactly; `keyword` is where they part."""

    def __init__(self, keyword: str) -> None:
        super().__init__(keyword)
        self.keyword = keyword


def merge(left: Schema, right: Schema) -> Schema:
    """Return a schema that holds exactly where both hold; False where nothing can.

    Raises:
        UnmergeableError: The two have a keyword in common that cannot be joined.
    """
    if isinstance(left, bool) or isinstance(right, bool):
        return (right if left is True else False) if isinstance(left, bool) else (left if right is True else False)
    merged = {**right, **left}
    if "properties" in left or "properties" in right:
        merged["properties"] = _properties(left, right)
    for key in right:
        if key in left and key not in ANNOTATIONS and key != "properties" and left[key] != right[key]:
            merged[key] = _joined(key, left[key], right[key])
    empty = (
        merged.get("type") == []
        or merged.get("enum") == []
        or ("const" in left and "const" in right and left["const"] != right["const"])
    )
    return False if empty else merged


def _joined(key: str, left: Any, right: Any) -> Any:
    join = _JOINS.get(key)
    if join is None:
        raise UnmergeableError(key)
    return join(left, right)


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are equal as JSON Schema sees it: 1 is 1.0, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def types_of(value: Any) -> list[str]:
    """Return a `type` keyword as a list."""
    return [value] if isinstance(value, str) else list(value)


def _types(left: Any, right: Any) -> list[str]:
    first, second = types_of(left), types_of(right)
    kept = [name for name in first if name in second or (name == "integer" and "number" in second)]
    return kept + ["integer"] * (
        "integer" in second and "number" in first and "integer" not in kept and "number" not in kept
    )


def _product(left: list[Schema], right: list[Schema]) -> list[Schema]:
    if len(left) * len(right) > _MAX_PRODUCT:
        raise UnmergeableError("anyOf")
    return [merge(one, other) for one in left for other in right]


def _properties(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Schema]:
    """Join properties; one that only one side names must also fit the other side's additionalProperties."""
    ours, theirs = left.get("properties", {}), right.get("properties", {})
    joined: dict[str, Schema] = {}
    for name in (*ours, *(name for name in theirs if name not in ours)):
        joined[name] = merge(ours.get(name, _outside(left)), theirs.get(name, _outside(right)))
    return joined


def _outside(schema: Mapping[str, Any]) -> Schema:
    if "patternProperties" in schema:
        raise UnmergeableError("patternProperties")
    rest: Schema = schema.get("additionalProperties", True)
    return rest


_JOINS: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
    **dict.fromkeys(("additionalProperties", "items", "propertyNames"), merge),
    "type": _types,
    "required": lambda left, right: [*left, *(name for name in right if name not in left)],
    "enum": lambda left, right: [value for value in left if any(same(value, other) for other in right)],
    "const": lambda left, _: left,
    "allOf": lambda left, right: [*left, *right],
    "anyOf": _product,
}

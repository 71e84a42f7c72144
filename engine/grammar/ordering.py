"""Arguments in the order of their schema, which is the order that a grammar demands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.errors import ConfigError
from engine.grammar.argument_check import fits
from engine.grammar.refs import resolve

_MAX_DEPTH = 64


def order_arguments(schema: Mapping[str, Any] | bool, value: Any) -> Any:
    """Return the value with its objects' keys in the schema's order; keys that the schema does not name come last."""
    return _ordered(schema, schema, value, 0)


def _ordered(root: Mapping[str, Any] | bool, schema: Any, value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return value
    views = list(_views(root, schema, value, 0))
    if isinstance(value, Mapping):
        named: dict[str, Any] = {}
        for view in views:
            for name, inner in view.get("properties", {}).items():
                named.setdefault(name, inner)
        rest = next((view["additionalProperties"] for view in views if "additionalProperties" in view), True)
        keys = [*(name for name in named if name in value), *(name for name in value if name not in named)]
        return {name: _ordered(root, named.get(name, rest), value[name], depth + 1) for name in keys}
    if isinstance(value, list):
        items = next((view["items"] for view in views if "items" in view), True)
        first: list[Any] = next((view["prefixItems"] for view in views if "prefixItems" in view), [])
        return [
            _ordered(root, first[index] if index < len(first) else items, item, depth + 1)
            for index, item in enumerate(value)
        ]
    return value


def _views(root: Mapping[str, Any] | bool, schema: Any, value: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """Yield the schema and everything that applies to the same value; of alternatives, those that it fits first."""
    if not isinstance(schema, Mapping) or depth > 16:
        return
    yield schema
    if isinstance(schema.get("$ref"), str):
        yield from _views(root, resolve(root, schema["$ref"]), value, depth + 1)
    for part in schema.get("allOf", ()):
        yield from _views(root, part, value, depth + 1)
    for key in ("anyOf", "oneOf"):
        for part in sorted(schema.get(key, ()), key=lambda part: not _fits(root, part, value)):
            yield from _views(root, part, value, depth + 1)


def _fits(root: Mapping[str, Any] | bool, part: Any, value: Any) -> bool:
    """Whether a value fits one alternative, as far as the schema can be used."""
    if not isinstance(part, Mapping):
        return part is True
    known = root if isinstance(root, Mapping) else {}
    defs = {key: known[key] for key in ("$defs", "definitions") if key in known}
    try:
        return fits({**part, **defs}, value)
    except ConfigError:
        return False

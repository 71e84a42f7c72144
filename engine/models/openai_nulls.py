"""Arguments under a strict schema, as the tool's own schema has them: a null may stand for what was left out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.grammar.argument_check import fits
from engine.grammar.refs import resolve

_MAX_DEPTH = 64


def without_nulls(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without the nulls of optional properties whose schema does not allow null.

    Args:
        schema: The tool's parameters, as the tool has them.
        arguments: What a server with strict tools returned.
    """
    return dict(_Restore(schema).value(schema, arguments, 0))


class _Restore:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._named = {key: root[key] for key in ("$defs", "definitions") if key in root}

    def value(self, schema: Any, value: Any, depth: int) -> Any:
        """Return a value without the nulls that its schema did not ask for."""
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH or not isinstance(value, (Mapping, list)):
            return value
        for part in self._joined(schema):
            value = self.value(part, value, depth + 1)
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list):
                value = self._branch(schema[key], value, depth + 1)
        return self._members(schema, value, depth + 1)

    def _joined(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """Yield the other schemas that hold for the same value."""
        ref, every = schema.get("$ref"), schema.get("allOf")
        if isinstance(ref, str):
            yield resolve(self._root, ref)
        if isinstance(every, list):
            yield from every

    def _branch(self, branches: list[Any], value: Any, depth: int) -> Any:
        """Return the value as the first branch has it that then fits."""
        for branch in branches:
            restored = self.value(branch, value, depth)
            if self._fits(branch, restored):
                return restored
        return value

    def _members(self, schema: Mapping[str, Any], value: Any, depth: int) -> Any:
        if isinstance(value, list):
            items, fixed = schema.get("items", True), schema.get("prefixItems") or []
            return [
                self.value(fixed[place] if place < len(fixed) else items, item, depth)
                for place, item in enumerate(value)
            ]
        named = schema.get("properties")
        if not isinstance(named, Mapping):
            return value
        required = schema.get("required") or ()
        kept = {
            name: inner
            for name, inner in value.items()
            if inner is not None or name in required or name not in named or self._fits(named[name], None)
        }
        return {name: self.value(named.get(name, True), inner, depth) for name, inner in kept.items()}

    def _fits(self, schema: Any, value: Any) -> bool:
        from referencing.exceptions import Unresolvable

        if isinstance(schema, bool):
            return schema
        try:
            return fits({**schema, **self._named}, value)
        except (Unresolvable, ValueError, TypeError, AttributeError, RecursionError):
            return False

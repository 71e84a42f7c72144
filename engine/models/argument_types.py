"""What a tool's schema says about the type of an argument, for wire formats that do not write types themselves."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

from engine.grammar.refs import resolve
from engine.grammar.shapes import TYPES, types_meant

_EVERY = frozenset(TYPES)
_MAX_DEPTH = 64
_CHOICES = ("anyOf", "oneOf")
Schema = Mapping[str, Any] | bool


def json_type(value: Any) -> str:
    """Return the narrowest JSON Schema type of a JSON value."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else "boolean"
    if isinstance(value, (int, float)):
        return "integer" if value == int(value) else "number"
    return "string" if isinstance(value, str) else "object" if isinstance(value, Mapping) else "array"


class ArgumentTypes:
    """Answers questions about one tool's schema; a malformed schema allows every type.

    Args:
        root: The schema, in which `$ref` is looked up too.
    """

    def __init__(self, root: Schema) -> None:
        self.root = root
        self._known: dict[str, frozenset[str]] = {}

    def allowed(self, schema: Any, depth: int = 0) -> frozenset[str]:
        """Return the types that a value may have under a schema; one that says nothing allows every type."""
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return _EVERY
        found = _own_types(schema)
        if isinstance(schema.get("$ref"), str):
            found &= self._of_ref(schema["$ref"], depth + 1)
        for part in _parts(schema, "allOf"):
            found &= self.allowed(part, depth + 1)
        for key in _CHOICES:
            branches = [self.allowed(part, depth + 1) for part in _parts(schema, key)]
            found &= frozenset[str]().union(*branches) if branches else _EVERY
        return found

    def _of_ref(self, ref: str, depth: int) -> frozenset[str]:
        if ref not in self._known:
            self._known[ref] = _EVERY  # for a reference that leads back to itself
            self._known[ref] = self.allowed(resolve(self.root, ref), depth)
        return self._known[ref]

    def views(self, schema: Any) -> Iterator[Mapping[str, Any]]:
        """Yield the schema and every schema that applies, or may apply, to the same value; each `$ref` once."""
        todo, known = deque([schema]), set[str]()
        while todo:
            view = todo.popleft()
            if not isinstance(view, Mapping):
                continue
            yield view
            ref = view.get("$ref")
            if isinstance(ref, str) and ref not in known:
                known.add(ref)
                todo.append(resolve(self.root, ref))
            todo += [part for key in ("allOf", *_CHOICES) for part in _parts(view, key)]

    def member(self, schema: Any, name: str) -> Schema | None:
        """Return the schema of an object's member, of several the choice; None where nothing is said of the name."""
        found: list[Any] = []
        for view in self.views(schema):
            properties = view.get("properties")
            if isinstance(properties, Mapping) and name in properties:
                found.append(properties[name])
                continue
            patterns = view.get("patternProperties")
            found += patterns.values() if isinstance(patterns, Mapping) else []
            if "additionalProperties" in view or name in _parts(view, "required"):
                found.append(view.get("additionalProperties", True))
        return _choice([part for part in found if part is not False])

    def item(self, schema: Any, index: int) -> Schema | None:
        """Return the schema of an array's item, of several the choice; None where nothing is said of it."""
        found: list[Any] = []
        for view in self.views(schema):
            first = _parts(view, "prefixItems")
            if index < len(first):
                found.append(first[index])
            elif "items" in view:
                found.append(view["items"])
        return _choice(found)


def _own_types(schema: Mapping[str, Any]) -> frozenset[str]:
    named = schema.get("type")
    if named is None or isinstance(named, str):
        names: list[Any] = types_meant(schema)
    else:
        names = _parts(schema, "type")
    found = frozenset(name for name in names if isinstance(name, str) and name in _EVERY) or _EVERY
    if "number" in found:
        found |= {"integer"}
    if "const" in schema:
        return found & {json_type(schema["const"])}
    values = _parts(schema, "enum")
    return found & {json_type(value) for value in values} if values else found


def _parts(schema: Mapping[str, Any], key: str) -> list[Any]:
    parts = schema.get(key)
    return list(parts) if isinstance(parts, (list, tuple)) else []


def _choice(found: list[Any]) -> Schema | None:
    if len(found) <= 1:
        return found[0] if found and isinstance(found[0], (Mapping, bool)) else None
    return {"anyOf": found}

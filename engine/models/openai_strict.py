"""A tool's parameters as a strict schema: what servers with a native tools API enforce.

Source: OpenAI's guide to structured outputs, "Supported schemas" and "Some type-specific keywords are not yet
supported"; `default`, `minLength` and `maxLength` are refused by the API though the guide does not list them.

| in the tool's schema | in the strict schema |
|---|---|
| `type`, `enum`, `anyOf`, `$ref`, `items`, `description` | kept; `const` is an `enum` of one value |
| `pattern` (without look-around), `format` (the nine of the guide) | kept |
| `minimum`, `maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `multipleOf` | kept |
| `minItems`, `maxItems` | kept; without `maxItems` an array gets a default bound |
| `properties` | all required, no others allowed; an optional one may be null, which is taken out after parsing |
| `oneOf` | `anyOf` |
| `allOf`, and what stands beside `anyOf` or `$ref` | joined |
| `prefixItems` | items that fit any of the places |
| `minLength`, `maxLength`, `uniqueItems`, `contains` | left out, and checked after parsing |
| `minProperties`, `maxProperties`, `propertyNames` | left out, and checked after parsing |
| `not`, `if`, `dependentRequired`, `dependentSchemas`, `unevaluated…` | left out, and checked after parsing |
| `title`, `default`, `examples` and other notes | left out |
| free keys (`additionalProperties` without `properties`, `patternProperties`), values of any type | refused |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.grammar.bounds import DEFAULT_BOUNDS, Bounds
from engine.grammar.json_mode import Definitions
from engine.grammar.json_scalars import constants, either
from engine.grammar.merge import Schema
from engine.grammar.walk import Problem, SchemaWalk, as_object, walk_arguments

Written = dict[str, Any]

FORMATS = ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
_NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_LEFT_TO_CHECK = {
    "string": ("minLength", "maxLength"),
    "array": (),
    "object": ("minProperties", "maxProperties", "propertyNames"),
}
_CHECKED = "a strict schema cannot say it"
_KINDS = ((bool, "boolean"), (str, "string"), (int, "integer"), (float, "number"), (type(None), "null"))


class StrictWriter(SchemaWalk[Written]):
    """Writes one tool's schema as a strict one; findings collect in `problems`."""

    def __init__(self, root: Schema, definitions: Definitions, bounds: Bounds = DEFAULT_BOUNDS) -> None:
        super().__init__(root, bounds)
        self.definitions = definitions
        self._at = ""

    def write(self, schema: Schema, path: str = "", depth: int = 0) -> Written | None:
        """Return the strict schema of a schema's values, or None when there are none."""
        self._at = path
        return super().write(schema, path, depth)

    def anything(self) -> Written:
        """Refuse: a value of any type may be an object with free keys."""
        self.report(self._at, "type", "a strict schema cannot leave the type open", refused=True)
        return {"type": "null"}

    def one_of(self, parts: Sequence[Written]) -> Written:
        """Write a choice."""
        return either(parts)

    def values(self, values: Sequence[Any], path: str) -> Written:  # noqa: ARG002 - the signature of every walk
        """Write constants; raises ValueError for a list, whose places a strict schema cannot tell apart."""
        if any(_has_list(value) for value in values):
            raise ValueError("a strict schema cannot have a list as a constant")
        return _with_types(constants(values))

    def shared(self, ref: str, written: Written) -> Written:
        """Name the target of a reference, if it is an object."""
        return self.definitions.add(ref.rpartition("/")[2], written) if "properties" in written else written

    def one_type(self, name: str, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
        """Write the values of one type."""
        for key in _LEFT_TO_CHECK.get(name, ()):
            if key in schema:
                self.report(path, key, _CHECKED)
        if name == "object":
            return self._object(schema, path, depth)
        if name == "array":
            return self._array(schema, path, depth)
        if name == "string":
            return self._string(schema, path)
        keys = _NUMERIC if name in ("integer", "number") else ()
        return {"type": name, **{key: schema[key] for key in keys if key in schema}}

    def _string(self, schema: Mapping[str, Any], path: str) -> Written:
        written: Written = {"type": "string"}
        if schema.get("format") in FORMATS:
            written["format"] = schema["format"]
        pattern = schema.get("pattern")
        if pattern is None:
            return written
        try:
            re.compile(pattern)
        except re.error as error:
            self.report(path, "pattern", f"is not a valid regular expression: {error}", refused=True)
        if re.search(r"\(\?[=!<]|\\[1-9]", pattern):
            self.report(path, "pattern", _CHECKED)
            return written
        return {**written, "pattern": pattern}

    def _array(self, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
        low, asked = int(schema.get("minItems", 0)), schema.get("maxItems")
        high = max(low, self.bounds.items) if asked is None else int(asked)
        with self.inside():
            items = self._items(schema, path, depth)
        if low > high or (items is None and low > 0):
            return None
        if items is None:
            items, high = {"type": "null"}, 0
        return {"type": "array", "items": items, **({"minItems": low} if low else {}), "maxItems": high}

    def _items(self, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
        fixed = schema.get("prefixItems", ())
        if fixed:
            self.report(path, "prefixItems", _CHECKED)
        rest = schema.get("items", not fixed)
        places = [(f"{path}/prefixItems/{number}", part) for number, part in enumerate(fixed)]
        places += [(f"{path}/items", rest)] if rest is not False else []
        written = [self._described(part, place, depth) for place, part in places]
        kinds = [one for one in written if one is not None]
        return either(kinds) if kinds else None

    def _described(self, schema: Schema, path: str, depth: int) -> Written | None:
        written = self.write(schema, path, depth)
        note = schema.get("description") if isinstance(schema, Mapping) else None
        if written is None or not isinstance(note, str):
            return written
        return {**({"anyOf": [written]} if "$ref" in written else written), "description": note}

    def _object(self, schema: Mapping[str, Any], path: str, depth: int) -> Written | None:
        named: Mapping[str, Schema] = schema.get("properties", {})
        required = schema.get("required", ())
        self._refuse_free_keys(schema, named, required, path)
        properties: dict[str, Written] = {}
        for name, part in named.items():
            written = self._described(part, f"{path}/properties/{name}", depth)
            if written is not None:
                properties[name] = written if name in required else self._or_null(written)
            elif name in required:
                return None
        return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}

    def _refuse_free_keys(
        self, schema: Mapping[str, Any], named: Mapping[str, Schema], required: Sequence[str], path: str
    ) -> None:
        if not named and schema.get("additionalProperties", True) is not False:
            self.report(path, "additionalProperties", "a strict schema cannot have free keys", refused=True)
        if schema.get("patternProperties"):
            self.report(path, "patternProperties", "a strict schema cannot have free keys", refused=True)
        if any(name not in named for name in required):
            self.report(path, "required", "names a key that has no schema", refused=True)

    def _or_null(self, written: Written) -> Written:
        if self.admits_null(written):
            return written
        note = {"description": written["description"]} if "description" in written else {}
        bare = {key: value for key, value in written.items() if key != "description"}
        if isinstance(bare.get("type"), str) and "enum" not in bare:
            return {**bare, "type": [bare["type"], "null"], **note}
        return {**either([bare, {"type": "null"}]), **note}

    def admits_null(self, written: Mapping[str, Any]) -> bool:
        """Whether null satisfies what was written."""
        if "anyOf" in written:
            return any(self.admits_null(part) for part in written["anyOf"])
        if "$ref" in written:
            return False  # only objects are named
        kinds = written.get("type", ())
        return "null" in ([kinds] if isinstance(kinds, str) else kinds)


def _has_list(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_list, value.values()))
    return isinstance(value, (list, tuple))


def _with_types(written: Written) -> Written:
    """Return constants with their types said, as strict servers want it."""
    if "anyOf" in written:
        return {**written, "anyOf": [_with_types(part) for part in written["anyOf"]]}
    if "properties" in written:
        inner = {name: _with_types(part) for name, part in written["properties"].items()}
        return {**written, "properties": inner}
    if "enum" not in written:
        return written
    kinds = [next(name for kind, name in _KINDS if isinstance(value, kind)) for value in written["enum"]]
    unique = list(dict.fromkeys(kinds))
    return {"type": unique[0] if len(unique) == 1 else unique, **written}


def strict_parameters(parameters: Schema, bounds: Bounds = DEFAULT_BOUNDS) -> tuple[Written | None, list[Problem]]:
    """Return the strict schema of a tool's parameters and what it does not say: refused, or checked after parsing."""
    definitions = Definitions()
    found, problems = _walked(as_object(parameters), definitions, bounds)
    if found is None:
        return None, problems
    if found.get("type") != "object":
        keyword = "anyOf" if "anyOf" in found else "type"
        problems = [*problems, Problem("", keyword, True, "the root of a strict schema is one object")]
    return {**found, **({"$defs": definitions.all} if definitions.all else {})}, problems


def _walked(parameters: Schema, definitions: Definitions, bounds: Bounds) -> tuple[Written | None, list[Problem]]:
    return walk_arguments(StrictWriter(parameters, definitions, bounds), parameters)

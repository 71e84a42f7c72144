"""The JSON Schema of a bundle that builds on another: nothing is required that can be inherited, null removes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

OWN_KEYS = ("format", "name", "extends")
"""What every such manifest has itself."""

_TOP = ("format", "name")
_ENTRIES = {"tools": ("RemovedTool", ("name", "path", "python", "mcp")), "context": ("RemovedContext", ("name",))}
_PREFIX = "Partial"
_NULL: Schema = {"type": "null"}


def extending(manifest: Mapping[str, Any], definitions: Mapping[str, Any]) -> tuple[Schema, Schema]:
    """Return the schema of a manifest with `extends`, and the definitions that it needs besides.

    Args:
        manifest: The schema of a manifest that builds on nothing.
        definitions: Its `$defs`.
    """
    loosener = _Loosener(definitions)
    properties = {key: loosener.top(key, value) for key, value in manifest["properties"].items()}
    partial = {**manifest, "properties": properties, "required": list(OWN_KEYS)}
    return partial, loosener.made


class _Loosener:
    """Makes partial variants of definitions, each once."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self.made: Schema = {}

    def top(self, key: str, schema: Mapping[str, Any]) -> Schema:
        """Return the schema of a key at the top level."""
        if key in _TOP:
            return dict(schema)
        if key == "extends":
            return {"description": schema["description"], "type": "string", "minLength": 1, "maxLength": 1024}
        if key in _ENTRIES:
            return self._named(key, schema)
        if key == "params":
            return _nullable(self._of_names(schema, _nullable))
        return self._optional(schema)

    def _optional(self, schema: Mapping[str, Any]) -> Schema:
        """Return the schema of a value that is merged when it is a mapping, and removed when it is null."""
        if "$ref" in schema:
            return {**schema, "$ref": f"#/$defs/{self._partial(schema['$ref'], ['object', 'null'])}"}
        if "anyOf" in schema:
            return _nullable({**schema, "anyOf": [self._branch(branch) for branch in schema["anyOf"]]})
        return _nullable(self._of_names(schema, self._optional))

    def _branch(self, schema: Mapping[str, Any]) -> Schema:
        if "$ref" in schema:
            return {**schema, "$ref": f"#/$defs/{self._partial(schema['$ref'], 'object')}"}
        return dict(schema)

    def _of_names(self, schema: Mapping[str, Any], loosen: Any) -> Schema:
        """Loosen the values of a mapping from free names."""
        changed = dict(schema)
        if isinstance(schema.get("additionalProperties"), dict):
            changed["additionalProperties"] = loosen(schema["additionalProperties"])
        if "patternProperties" in schema:
            changed["patternProperties"] = {key: loosen(item) for key, item in schema["patternProperties"].items()}
        return changed

    def _partial(self, reference: str, kind: str | list[str]) -> str:
        """Return the name of the partial variant of a definition; one is used either as a value or in a union."""
        name = reference.rpartition("/")[2]
        made = _PREFIX + name
        if made not in self.made:
            self.made[made] = {}
            self.made[made] = {**self._object(self._definitions[name]), "type": kind}
        assert self.made[made].get("type", kind) == kind  # noqa: S101
        return made

    def _object(self, schema: Mapping[str, Any]) -> Schema:
        loose = {key: value for key, value in schema.items() if key not in ("required", "allOf")}
        rules = [rule for rule in schema.get("allOf", ()) if "anyOf" not in rule]
        if rules:
            loose["allOf"] = [_with_values(rule) for rule in rules]
        loose["properties"] = {key: self._optional(value) for key, value in schema.get("properties", {}).items()}
        return loose

    def _named(self, key: str, schema: Mapping[str, Any]) -> Schema:
        """Return the schema of a list whose entries are merged by name."""
        removed, names = _ENTRIES[key]
        item = schema["items"]
        branches = item.get("anyOf", [item])
        self.made[removed] = _removed(key, names)
        loose = [self._entry(branch, names) for branch in branches]
        entries = {"anyOf": [*loose, {"$ref": f"#/$defs/{removed}"}]}
        changed = {name: value for name, value in schema.items() if name not in ("minItems", "default")}
        return _nullable({**changed, "items": entries})

    def _entry(self, branch: Mapping[str, Any], names: tuple[str, ...]) -> Schema:
        if "$ref" not in branch:
            return dict(branch)
        made = self._partial(branch["$ref"], "object")
        known = [name for name in names if name in self.made[made]["properties"]]
        self.made[made]["allOf"] = [{"anyOf": [{"required": [name]} for name in known]}]
        for name in known:  # what an entry goes by is not removed from it
            properties = self.made[made]["properties"]
            properties[name] = _not_null(properties[name])
        return {"$ref": f"#/$defs/{made}"}


def _nullable(schema: Mapping[str, Any]) -> Schema:
    """Let a value be null, which removes what is inherited."""
    loose = {key: value for key, value in schema.items() if key != "default"}
    if "anyOf" in loose:
        loose["anyOf"] = [*(branch for branch in loose["anyOf"] if branch != _NULL), dict(_NULL)]
    elif isinstance(loose.get("type"), str):
        loose["type"] = [loose["type"], "null"]
        if "enum" in loose:
            loose["enum"] = [*loose["enum"], None]
    return loose  # without a type anything goes already


def _not_null(schema: Mapping[str, Any]) -> Schema:
    if isinstance(schema.get("type"), list):
        return {**schema, "type": next(kind for kind in schema["type"] if kind != "null")}
    if "anyOf" not in schema:
        return dict(schema)
    [branch] = [branch for branch in schema["anyOf"] if branch != _NULL]
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **branch}


def _with_values(rule: Mapping[str, Any]) -> Schema:
    """Let a key that is null stand beside the key that excludes it."""
    keys = rule["not"]["required"]
    return {"not": {"type": "object", "required": keys, "properties": {key: {"not": dict(_NULL)} for key in keys}}}


def _removed(key: str, names: tuple[str, ...]) -> Schema:
    things = "tool" if key == "tools" else "context provider"
    text: Schema = {"type": "string", "minLength": 1}
    properties: Schema = {
        "name": {"description": "Name of what is removed.", **text},
        "path": {"description": "Its script.", **text},
        "python": {"description": "Its callable.", **text},
        "mcp": {"description": "Its server: the command is enough.", "type": "object"},
    }
    return {
        "description": f"Removes an inherited {things}.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "remove": {"description": "Removes it: true.", "const": True},
            **{name: properties[name] for name in names},
        },
        "required": ["remove"],
        "allOf": [{"anyOf": [{"required": [name]} for name in names]}],
    }

"""The JSON Schemas of the manifests, generated from the models, and their validators."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

from engine.manifest.bundle_model import Manifest, Model
from engine.manifest.case_model import CaseFile
from engine.manifest.engine_model import EngineConfig
from engine.manifest.examples import add_examples
from engine.manifest.extending import extending

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

Kind = Literal["bundle", "engine", "tests"]
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[Kind, type[Model]] = {"bundle": Manifest, "engine": EngineConfig, "tests": CaseFile}
_TITLES: dict[Kind, str] = {"bundle": "bundle.yaml", "engine": "engine.yaml", "tests": "tests/*.yaml"}


@cache
def json_schema(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of one document (Draft 2020-12), as it is exported."""
    schema = MODELS[kind].model_json_schema()
    _close(schema)
    add_examples(schema, MODELS[kind].__name__)
    return {"$schema": DIALECT, "$id": f"urn:bundle-engine:schema:{kind}", **schema, "title": _TITLES[kind]}


@cache
def validator(kind: Kind) -> Draft202012Validator:
    """Return the validator of one document, built once: the expensive part."""
    from jsonschema import Draft202012Validator

    schema = dict(json_schema(kind))
    definitions = schema.pop("$defs", {})
    return Draft202012Validator(_inline(schema, definitions))


@cache
def exported_schema(kind: Kind) -> dict[str, Any]:
    """Return the schema that editors get: a bundle that `extends` another may leave out what it inherits."""
    schema = json_schema(kind)
    if kind != "bundle":
        return schema
    alone = {key: value for key, value in schema.items() if key not in ("$schema", "$id", "$defs", "title")}
    partial, definitions = extending(alone, schema["$defs"])
    return {
        "$schema": DIALECT,
        "$id": schema["$id"],
        "title": schema["title"],
        "description": schema["description"],
        "type": "object",
        "if": {"required": ["extends"], "properties": {"extends": {"type": "string"}}},
        "then": {"$ref": "#/$defs/ExtendingManifest"},
        "else": {"$ref": "#/$defs/Manifest"},
        "$defs": {**schema["$defs"], **definitions, "ExtendingManifest": partial, "Manifest": alone},
    }


@cache
def extending_validator() -> Draft202012Validator:
    """Return the validator of a bundle that builds on another, as it is before anything is inherited."""
    from jsonschema import Draft202012Validator

    definitions = exported_schema("bundle")["$defs"]
    return Draft202012Validator(_inline(definitions["ExtendingManifest"], definitions))


def _close(schema: Any) -> None:
    """Make keys that match none of the patterns an error, as the models do."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _close(value)
    elif isinstance(schema, list):
        for value in schema:
            _close(value)


def _inline(schema: Any, definitions: dict[str, Any]) -> Any:
    """Replace references by what they name: the models don't recurse, and resolving costs more than validating."""
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    return {key: _inline(value, definitions) for key, value in schema.items()}

"""Values against the JSON Schemas of a bundle's params; nothing is fetched, nothing is run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from engine.errors import ConfigError


def check_schema(schema: Mapping[str, Any]) -> str:
    """Say what is wrong with a param's schema; empty when it can be used."""
    outside = _outside(schema)
    if outside:
        return f"the reference '{outside}' leaves the schema"
    return _check_schema(json.dumps(schema, sort_keys=True))


@lru_cache(maxsize=1024)
def _check_schema(text: str) -> str:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(json.loads(text))
    except SchemaError as error:
        place = ".".join(str(step) for step in error.absolute_path)
        return f"{place + ': ' if place else ''}{_line(error.message)}"
    except RecursionError:
        return "the schema is nested too deeply"
    return ""


def problem_of(schema: Mapping[str, Any], value: Any) -> str:
    """Say why a value does not fit a schema; empty when it does."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    try:
        # An empty registry: a reference is never fetched.
        error = best_match(Draft202012Validator(schema, registry=Registry()).iter_errors(value))
    except Unresolvable as missing:
        return f"the reference '{missing.ref}' does not exist"
    except RecursionError:
        return "the schema refers to itself without end"
    return _line(error.message) if error else ""


def resolve_params(schemas: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any], bundle: str) -> dict[str, Any]:
    """Return all params, defaults filled in.

    Raises:
        ConfigError: A name does not exist, a value does not fit, or one without a default is missing.
    """
    from engine.diagnostics import did_you_mean

    for name in values:
        if name not in schemas:
            hint = did_you_mean(name, schemas) or f"it has: {', '.join(schemas) or 'none'}"
            raise ConfigError(f"the bundle '{bundle}' has no param '{name}': {hint}")
    resolved = {}
    for name, schema in schemas.items():
        if name not in values and "default" not in schema:
            raise ConfigError(f"the param '{name}' of the bundle '{bundle}' has no default: give it a value")
        resolved[name] = values.get(name, schema.get("default"))
        problem = problem_of(schema, resolved[name])
        if problem:
            raise ConfigError(f"the param '{name}' of the bundle '{bundle}' is not valid: {problem}")
    return resolved


def _outside(schema: Any) -> str | None:
    if isinstance(schema, Mapping):
        for key in ("$ref", "$dynamicRef"):
            if isinstance(schema.get(key), str) and not schema[key].startswith("#"):
                return str(schema[key])
        return next((found for item in schema.values() if (found := _outside(item))), None)
    if isinstance(schema, list):
        return next((found for item in schema if (found := _outside(item))), None)
    return None


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 200 else text[:197] + "…"

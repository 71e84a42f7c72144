"""The schema that the model sees: the script's inputs less what the engine fills, with the manifest's details."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from engine.diagnostics import Diagnostic, Span, did_you_mean
from engine.grammar.argument_check import fits
from engine.grammar.linear_pattern import PatternError, check_pattern
from engine.manifest.bundle_model import InputOverride, ScriptTool
from engine.tools.script import Script, ScriptInput

SYSTEM_INPUTS = ("node_text", "node_name", "node_type", "node_id", "file_path", "start_line", "end_line")
"""Inputs that the engine fills from the node; the model never sees them."""

Where = Callable[..., Span]

# Manifest key → (JSON Schema keyword, the type that it applies to).
_KEYWORDS = {
    "min_length": ("minLength", "string"),
    "max_length": ("maxLength", "string"),
    "pattern": ("pattern", "string"),
    "minimum": ("minimum", "number"),
    "maximum": ("maximum", "number"),
    "min_items": ("minItems", "array"),
    "max_items": ("maxItems", "array"),
}
_RANGES = (("minLength", "maxLength"), ("minimum", "maximum"), ("minItems", "maxItems"))


def hidden_inputs(script: Script, spec: ScriptTool) -> frozenset[str]:
    """Return the names of the inputs that the engine fills."""
    return frozenset(item.name for item in script.inputs if item.name in SYSTEM_INPUTS or item.name in spec.bind)


def merge_inputs(script: Script, spec: ScriptTool, where: Where) -> tuple[dict[str, Any], list[Diagnostic]]:
    """Return the tool's parameters schema and the findings (T008, S005, S006).

    Args:
        script: The script.
        spec: The manifest's entry for the tool.
        where: Returns the span of a key of that entry: `where("inputs", "docstring")`.
    """
    found = [*_unknown(script, spec, where), *_both(script, spec, where)]
    hidden = hidden_inputs(script, spec)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for item in script.inputs:
        if item.name in hidden:
            continue
        override = spec.inputs.get(item.name)
        merged, problems = _merged(item, override) if override else (copy.deepcopy(dict(item.schema)), [])
        found += [Diagnostic("S005", text, where("inputs", item.name, key)) for key, text in problems]
        properties[item.name] = merged
        if item.required and not (override and "default" in override.model_fields_set):
            required.append(item.name)
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return schema, found


def _unknown(script: Script, spec: ScriptTool, where: Where) -> list[Diagnostic]:
    names = [item.name for item in script.inputs]
    found = []
    for section in ("inputs", "bind"):
        for name in getattr(spec, section):
            if name not in names:
                hint = did_you_mean(name, names)
                message = f"{script.file} has no input '{name}'" + (f"; {hint}" if hint else "")
                help_text = f"Its inputs are {', '.join(names)}." if names else "It declares no input."
                found.append(Diagnostic("T008", message, where(section, name), help_text))
    return found


def _both(script: Script, spec: ScriptTool, where: Where) -> list[Diagnostic]:
    hidden = hidden_inputs(script, spec)
    message = "the input '{}' is filled by the engine, so the model is told nothing about it"
    names = [name for name in spec.inputs if name in hidden]
    return [Diagnostic("S006", message.format(name), where("inputs", name), "Remove it from inputs.") for name in names]


def _merged(item: ScriptInput, override: InputOverride) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    schema = copy.deepcopy(dict(item.schema))
    problems: list[tuple[str, str]] = []
    given = override.model_fields_set
    if override.description is not None:
        schema["description"] = override.description
    for key, (keyword, kind) in _KEYWORDS.items():
        value = getattr(override, key)
        if value is not None:
            problems += _apply(schema, (key, keyword, kind), value, item)
    if override.enum is not None:
        problems += _enum(schema, list(override.enum), item)
    if "default" in given:
        if fits(schema, override.default):
            schema["default"] = override.default
        else:
            problems.append(("default", f"the default {override.default!r} does not fit the input '{item.name}'"))
    elif "default" in schema and not fits(schema, schema["default"]):
        problems.append(("", f"the script's own default {schema['default']!r} of '{item.name}' is no longer allowed"))
    return schema, problems


def _apply(schema: dict[str, Any], rule: tuple[str, str, str], value: Any, item: ScriptInput) -> list[tuple[str, str]]:
    """Set a keyword on each branch of the schema that has its type."""
    key, keyword, kind = rule
    if keyword == "pattern":
        try:
            check_pattern(value)
        except PatternError as error:
            return [(key, str(error))]
    branches = [branch for branch in schema.get("anyOf", [schema]) if _is_kind(branch, kind)]
    if not branches:
        return [(key, f"{key} does not apply to the input '{item.name}', which is {item.annotation}")]
    for branch in branches:
        branch[keyword] = int(value) if isinstance(value, float) and value.is_integer() else value
        for low, high in _RANGES:
            if keyword in {low, high} and branch.get(low, value) > branch.get(high, value):
                return [(key, f"no value of '{item.name}' is possible: {low} is larger than {high}")]
    return []


def _is_kind(branch: Mapping[str, Any], kind: str) -> bool:
    return branch.get("type") == kind or (kind == "number" and branch.get("type") == "integer")


def _enum(schema: dict[str, Any], values: list[Any], item: ScriptInput) -> list[tuple[str, str]]:
    wrong = [value for value in values if not fits(schema, value)]
    if wrong:
        return [("enum", f"{wrong[0]!r} does not fit the input '{item.name}', which is {item.annotation}")]
    schema.pop("const", None)
    schema["enum"] = values
    return []

"""What the text of a parameter means: Qwen3-Coder writes a string raw and anything else as JSON, without a sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.models.argument_types import ArgumentTypes, Schema, json_type
from engine.models.call_json import CallFault, check_unicode, json_end, load

# The model's own chat template shows it true, false and null as Python writes them.
_PYTHON = {"True": True, "False": False, "None": None}


def typed_parameters(schema: Schema | None, values: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments.

    Where the schema allows a string and something else, text that is JSON of one of the other types is read as that.

    Args:
        schema: The tool's schema; None, like a parameter that it does not know, makes every value a string.
        values: The text of each parameter.

    Raises:
        CallFault: A value that cannot be a string is no JSON, or a string cannot be written as UTF-8.
    """
    types = None if schema is None else ArgumentTypes(schema)
    arguments: dict[str, Any] = {}
    for name, text in values.items():
        member = None if types is None else types.member(schema, name)
        arguments[name] = text if types is None or member is None else _typed(name, text, types.allowed(member))
    check_unicode(arguments)
    return arguments


def _typed(name: str, text: str, allowed: frozenset[str]) -> Any:
    if "string" in allowed:
        return _maybe_string(text, allowed)
    plain = text.strip()
    if plain in _PYTHON and json_type(_PYTHON[plain]) in allowed:
        return _PYTHON[plain]
    try:
        return _json(plain)
    except CallFault as fault:
        raise CallFault(f"the parameter '{name}': {fault}") from None


def _json(text: str) -> Any:
    if text[:1] in ("{", "["):
        json_end(text, 0)
    return load(text)


def _maybe_string(text: str, allowed: frozenset[str]) -> Any:
    if allowed == {"string"} or text != text.strip():
        return text
    try:
        value = _json(text)
    except CallFault:
        return text
    return text if isinstance(value, str) or json_type(value) not in allowed else value

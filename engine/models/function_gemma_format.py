"""How FunctionGemma writes values, declarations, calls and results: bare keys, strings between `<escape>` tokens.

Source: the page "FunctionGemma formatting and best practices" and the chat template that ships with the model. The
template sorts members by name; here they stand in the order of their schema or value, which is the order that a
grammar demands of a call.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.grammar.shapes import TYPES
from engine.grammar.text_syntax import BARE_KEY
from engine.messages import ToolCall, ToolSchema
from engine.models.argument_types import ArgumentTypes, Schema
from engine.models.call_json import CallFault, load
from engine.models.untrusted import break_tokens

ESCAPE = "<escape>"
CALL_OPEN, CALL_CLOSE = "<start_function_call>", "<end_function_call>"
RESPONSE_OPEN, RESPONSE_CLOSE = "<start_function_response>", "<end_function_response>"
CONTROL_TOKENS = (
    "<bos>", "<eos>", "<pad>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", ESCAPE,
    "<start_function_declaration>", "<end_function_declaration>", CALL_OPEN, CALL_CLOSE, RESPONSE_OPEN, RESPONSE_CLOSE,
)  # fmt: skip
_MAX_DEPTH = 8


def write_value(value: Any, tokens: Iterable[str] = (ESCAPE,)) -> str:
    """Return a JSON value as the model writes it.

    Args:
        value: The value.
        tokens: What no string can hold; it is broken with a blank.
    """
    if isinstance(value, str):
        return f"{ESCAPE}{break_tokens(value, tokens)}{ESCAPE}"
    if isinstance(value, Mapping):
        return "{" + _members(value, tokens) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(write_value(item, tokens) for item in value) + "]"
    return json.dumps(value)


def _members(value: Mapping[str, Any], tokens: Iterable[str]) -> str:
    return ",".join(f"{_key(str(key), tokens)}:{write_value(item, tokens)}" for key, item in value.items())


def _key(key: str, tokens: Iterable[str]) -> str:
    """Return a key bare, or like a string where its characters are part of the format."""
    return key if BARE_KEY.fullmatch(key) else write_value(key, tokens)


def write_call(call: ToolCall, tokens: Iterable[str] = (ESCAPE,)) -> str:
    """Return a call as the model writes it."""
    return f"{CALL_OPEN}call:{break_tokens(call.name, tokens)}{write_value(call.arguments, tokens)}{CALL_CLOSE}"


def write_result(name: str, content: str) -> str:
    """Return a tool's result as the model reads it: the members of a JSON object, anything else as its `value`."""
    try:
        value = load(content)
    except CallFault:
        value = content
    members = value if isinstance(value, Mapping) else {"value": value}
    return f"{RESPONSE_OPEN}response:{_text(name)}{write_value(members, CONTROL_TOKENS)}{RESPONSE_CLOSE}"


def declare(tool: ToolSchema) -> str:
    """Return the declaration of a tool."""
    types = ArgumentTypes(tool.parameters)
    members = [f"description:{_string(tool.description)}", f"parameters:{_object(types, tool.parameters)}"]
    body = ",".join(members)
    return f"<start_function_declaration>declaration:{_text(tool.name)}{{{body}}}<end_function_declaration>"


def _text(text: str) -> str:
    return break_tokens(text, CONTROL_TOKENS)


def _string(value: Any) -> str:
    return write_value(str(value), CONTROL_TOKENS)


def _object(types: ArgumentTypes, schema: Schema) -> str:
    return "{" + ",".join([*_inside(types, schema, 0), f"type:{_string('OBJECT')}"]) + "}"


def _inside(types: ArgumentTypes, schema: Any, depth: int) -> list[str]:
    """Return what is declared of an object's members or an array's items."""
    views = list(types.views(schema)) if depth < _MAX_DEPTH else []
    items = next((view["items"] for view in views if isinstance(view.get("items"), Mapping)), None)
    named = [view["properties"] for view in views if isinstance(view.get("properties"), Mapping)]
    properties = {name: inner for part in reversed(named) for name, inner in part.items()}
    required = dict.fromkeys(name for view in views for name in _list(view, "required"))
    found = [] if items is None else [f"items:{_schema(types, items, depth, described=False)}"]
    if properties:
        found.append("properties:{" + ",".join(_property(types, *pair, depth) for pair in properties.items()) + "}")
    if required:
        found.append(f"required:{write_value([str(name) for name in required], CONTROL_TOKENS)}")
    return found


def _property(types: ArgumentTypes, name: str, schema: Any, depth: int) -> str:
    return f"{_key(name, CONTROL_TOKENS)}:{_schema(types, schema, depth, described=True)}"


def _schema(types: ArgumentTypes, schema: Any, depth: int, *, described: bool) -> str:
    """Return the declaration of one value; a property has a description even when it is empty."""
    views = list(types.views(schema))
    description = next((view["description"] for view in views if "description" in view), "" if described else None)
    values = next((view for view in views if "const" in view or _list(view, "enum")), {})
    enum = [values["const"]] if "const" in values else _list(values, "enum")
    found = [] if description is None else [f"description:{_string(description)}"]
    found += [f"enum:{write_value(enum, CONTROL_TOKENS)}"] if enum else []
    found += _inside(types, schema, depth + 1)
    return "{" + ",".join([*found, *_types(types.allowed(schema))]) + "}"


def _types(allowed: frozenset[str]) -> list[str]:
    """Return what is declared of the types, in upper case: nothing of all types, nor of null beside one other."""
    names = [name.upper() for name in TYPES if name in allowed and not (name == "integer" and "number" in allowed)]
    if len(allowed) == len(TYPES):
        return []
    plain = [name for name in names if name != "NULL"] if len(names) == 2 else names
    return [f"type:{_string(plain[0]) if len(plain) == 1 else write_value(names)}"]


def _list(schema: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = schema.get(key)
    return list(value) if isinstance(value, (list, tuple)) else []

"""How Qwen3-Coder is told its tools: tags for name, type and description, and for whatever else a schema says.

Source: the chat template that ships with the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.messages import ToolSchema

_BEFORE = "# Tools\n\nYou have access to the following functions:\n\n<tools>"
_AFTER = (
    "\n</tools>\n\nIf you choose to call a function ONLY reply in the following format with NO suffix:\n\n"
    "<tool_call>\n<function=example_function_name>\n<parameter=example_parameter_1>\nvalue_1\n</parameter>\n"
    "<parameter=example_parameter_2>\nThis is the value for the second parameter\nthat can span\nmultiple lines\n"
    "</parameter>\n</function>\n</tool_call>\n\n<IMPORTANT>\nReminder:\n"
    "- Function calls MUST follow the specified format: an inner <function=...></function> block must be nested within "
    "<tool_call></tool_call> XML tags\n- Required parameters MUST be specified\n"
    "- You may provide optional reasoning for your function call in natural language BEFORE the function call, but NOT "
    "after\n- If there is no function call available, answer the question like normal with your current knowledge and "
    "do not tell the user about function calls\n</IMPORTANT>"
)


def declare(tools: Sequence[ToolSchema]) -> str:
    """Return the declaration of the tools, with how to call them."""
    return _BEFORE + "".join(map(_function, tools)) + _AFTER


def _function(tool: ToolSchema) -> str:
    head = f"\n<function>\n<name>{tool.name}</name>\n<description>{tool.description.strip()}</description>"
    properties = tool.parameters.get("properties")
    parameters = "".join(map(_parameter, properties, properties.values())) if isinstance(properties, Mapping) else ""
    rest = _rest(tool.parameters, ("type", "properties"))
    return f"{head}\n<parameters>{parameters}{rest}\n</parameters>\n</function>"


def _parameter(name: str, schema: Any) -> str:
    lines = f"\n<parameter>\n<name>{name}</name>"
    if isinstance(schema, Mapping):
        lines += f"\n<type>{_text(schema['type'])}</type>" if "type" in schema else ""
        lines += f"\n<description>{str(schema['description']).strip()}</description>" if "description" in schema else ""
        lines += _rest(schema, ("name", "type", "description"))
    return f"{lines}\n</parameter>"


def _rest(schema: Mapping[str, Any], known: Sequence[str]) -> str:
    """Return a tag for each other keyword: objects and lists as JSON, all else as Python writes it."""
    return "".join(
        f"\n<{key}>{_json(value) if isinstance(value, (Mapping, list, tuple)) else _text(value)}</{key}>"
        for key, value in schema.items()
        if key not in known
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=dict)


def _text(value: Any) -> str:
    return str(value)

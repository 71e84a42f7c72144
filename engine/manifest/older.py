"""The shapes of manifests before format 1, told apart by the keys that only they have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from engine.manifest.document import JsonPath

Shape = Literal["subagent", "model mapping", "flat", "late"]

_TOP: dict[Shape, tuple[str, ...]] = {
    "subagent": ("model_id",),
    "late": ("externals_version", "system_prompt_extension", "self_reflect", "prompt_templates", "system_prompt"),
    "model mapping": ("registries", "termination_tool"),
    "flat": ("agents_dir", "termination", "node_types", "priority", "requires_context"),
}
_BELOW: dict[Shape, tuple[tuple[str, str], ...]] = {
    "subagent": (("initial_context", "node_context"),),
    "late": (("prompts", "chat"), ("prompts", "reactive")),
    "model mapping": (("initial_context", "user_template"), ("model", "grammar")),
    "flat": (("grammar", "allow_parallel_calls"), ("grammar", "send_tools_to_api")),
}
_TOOL: dict[Shape, tuple[str, ...]] = {
    "subagent": ("pym", "tool_name", "tool_description"),
    "late": (),
    "model mapping": ("registry", "inputs_override", "context_providers"),
    "flat": (),
}

# Keys of earlier formats that only their name tells from a key in the same place; * stands for an index or a name.
_RENAMED: dict[tuple[str, ...], dict[str, str]] = {
    ("model",): {"name": "id", "model": "id"},
    ("grammar",): {"allow_parallel_calls": "parallel_calls"},
    ("tools", "*"): {
        "pym": "path",
        "tool_name": "name",
        "tool_description": "description",
        "inputs_override": "inputs",
    },
    ("loop",): {"termination": "termination_tool", "turns": "max_turns"},
    ("nodes",): {"node_types": "types"},
}


def older_shape(data: Mapping[str, Any]) -> tuple[Shape, tuple[str, ...]] | None:
    """Return the earlier shape that a manifest has and the keys that show it; None for none of them.

    A manifest with a `format` has none. Of several shapes it is the one with the most keys of its own.
    """
    if "format" in data:
        return None
    found: dict[Shape, tuple[str, ...]] = {shape: tuple(_marks(data, shape)) for shape in _TOP}
    best = max(found, key=lambda shape: len(found[shape]))
    if found[best]:
        return best, found[best]
    # Few keys: `initial_context`, `max_turns` or a model's name at the top exist in no format 1 either.
    rest = [key for key in ("initial_context", "max_turns") if key in data]
    if isinstance(data.get("model"), str):
        rest.append("model")
    return ("flat" if "model" in rest or "tools" not in data else "model mapping", tuple(rest)) if rest else None


def _marks(data: Mapping[str, Any], shape: Shape) -> list[str]:
    marks = [key for key in _TOP[shape] if key in data]
    marks += [f"{top}.{key}" for top, key in _BELOW[shape] if isinstance(data.get(top), dict) and key in data[top]]
    tools = data.get("tools")
    entries = [item for item in tools if isinstance(item, dict)] if isinstance(tools, list) else []
    marks += [f"tools[].{key}" for key in _TOOL[shape] if any(key in item for item in entries)]
    return marks


def renamed(path: JsonPath) -> str | None:
    """Return what a key of an earlier format is called now, where only its name has changed."""
    place = tuple("*" if isinstance(step, int) else step for step in path[:-1])
    return _RENAMED.get(place, {}).get(str(path[-1])) if path else None

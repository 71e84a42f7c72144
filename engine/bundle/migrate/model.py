"""Model and grammar: the family, the model that is asked for, and how its calls are held."""

from __future__ import annotations

import re
from typing import Any

from engine.bundle.migrate.conversion import Conversion
from engine.manifest import JsonPath

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-([^{}]*))?\}")
_FAMILIES = (
    (r"function_?gemma", "function_gemma"),
    (r"smollm", "smollm"),
    (r"qwen.*coder", "qwen_coder"),
    (r"qwen", "qwen"),
    (r"llama-?_?3", "llama3"),
)
_DEFAULTS = {"subagent": "function_gemma", "model mapping": "function_gemma", "flat": "qwen", "late": "openai"}
_MODES = ("ebnf", "structural_tag", "json_schema")
_STRATEGIES = ("permissive", "strict_json", "typed", "none")


def convert_model(c: Conversion) -> None:
    """Fill in `model`."""
    value = c.old.get("model")
    if isinstance(value, dict):
        plugin, name, origin = _mapping(c)
    else:
        plugin, name, origin = _single(c)
    known = plugin or family(name or "") or _DEFAULTS[c.shape]
    if plugin is None:
        c.old.note("assumed", origin or (), f"the model family is not given: model.plugin is {known}")
    c.put(known, "model", "plugin", origin=("model", "plugin") if isinstance(value, dict) else None if name else origin)
    if name:
        c.put(name, "model", "id", origin=origin)
    c.origins.setdefault(("model",), ("model",) if value is not None else origin or ("model",))


def family(name: str) -> str | None:
    """Return the model family that a model's name speaks of, None for none that is known."""
    return next((plugin for pattern, plugin in _FAMILIES if re.search(pattern, name.lower())), None)


def _mapping(c: Conversion) -> tuple[str | None, str | None, JsonPath | None]:
    old = c.old
    plugin, name, origin = old.text("model", "plugin"), None, None
    for key in ("id", "name", "model", "adapter"):
        value = old.text("model", key)
        if value and name is None:
            name, origin = _settled(c, value, ("model", key)), ("model", key)
            if key == "adapter":
                old.note(
                    "assumed", origin, "it was sent as the model's name, so it is model.id; adapters are LoRA only"
                )
        elif value:
            old.lost(("model", key), f"the model's name is taken from {'.'.join(map(str, origin or ()))}")
    return plugin, name, origin


def _single(c: Conversion) -> tuple[str | None, str | None, JsonPath | None]:
    """`model: qwen`, a model's name, or `model_id`."""
    from engine.models import PLUGINS

    key = "model" if c.old.get("model") is not None else "model_id"
    value = c.old.text(key)
    if not value:
        return None, None, None
    settled = _settled(c, value, (key,))
    if settled in PLUGINS:
        return settled, None, (key,)
    if not settled:
        return None, None, (key,)
    return family(settled), settled, (key,)


def _settled(c: Conversion, value: str, path: JsonPath) -> str:
    """Replace `${VAR:-default}` by its default: a bundle means the same in every environment."""

    def default(match: re.Match[str]) -> str:
        return match[2] or ""

    settled = _VARIABLE.sub(default, value).strip()
    if settled != value.strip():
        shown = settled or "left out"
        c.old.note("lost", path, f"environment variables are not read: {shown}; ENGINE_RUN_MODEL and --model choose")
    return settled


def convert_grammar(c: Conversion) -> None:
    """Fill in `grammar`."""
    place: JsonPath = ("grammar",) if c.old.get("grammar") is not None else ("model", "grammar")
    given = c.old.mapping(*place)
    if c.shape == "subagent" and not given:
        return
    if c.shape == "late" and not given:
        c.put("allowed", "grammar", "text")
        return
    c.put("typed", "grammar", "strategy", origin=(*place, "args_format"))
    for key in ("strategy", "mode"):
        _how(c, (*place, key))
    parallel = c.old.flag(*place, "allow_parallel_calls")
    default = c.shape == "model mapping"
    c.put(
        default if parallel is None else parallel, "grammar", "parallel_calls", origin=(*place, "allow_parallel_calls")
    )
    if c.old.text(*place, "args_format") not in (None, "permissive"):
        c.old.lost((*place, "args_format"), "how arguments are written follows from model.plugin")
    c.old.lost((*place, "send_tools_to_api"), "whether tools are sent with a request follows from model.plugin")
    c.origins.setdefault(("grammar",), place)


def _how(c: Conversion, path: JsonPath) -> None:
    from engine.models import PLUGINS, get_plugin

    value = c.old.text(*path)
    plugin = c.new["model"]["plugin"]
    modes: Any = get_plugin(plugin).modes() if plugin in PLUGINS else _MODES
    if value in _STRATEGIES:
        c.put(value, "grammar", "strategy", origin=path)
    elif value in _MODES and value in modes:
        c.put(value, "grammar", "mode", origin=path)
    elif value in _MODES:
        c.old.lost(path, f"the family {plugin} has no mode {value}: auto takes the best that it has")
    elif value is not None:
        c.old.lost(path, "the engine has no such strategy: typed is taken")

"""From an old manifest to one of format 1."""

from __future__ import annotations

import re
from typing import Any

from engine.bundle.migrate.conversion import Conversion
from engine.bundle.migrate.model import convert_grammar, convert_model
from engine.bundle.migrate.prompts import convert_prompts, first_sentence
from engine.bundle.migrate.scripts import declared
from engine.bundle.migrate.tools import convert_tools
from engine.manifest import JsonPath

_NODE_TYPES = {"array_table": "table_array"}
_OLD_TURNS = 20
_LIMITS = ("seconds", "tokens", "tool_calls")


def convert(c: Conversion, name: str | None = None) -> None:
    """Fill in the new manifest and its files; everything that has no place in it becomes a note.

    Args:
        c: The conversion; its `new` and `files` are empty.
        name: The bundle's name, instead of its own.
    """
    c.put(1, "format")
    _identity(c, name)
    convert_model(c)
    convert_grammar(c)
    convert_prompts(c)
    _description(c)
    _nodes(c)
    convert_tools(c)
    _loop(c)
    _permissions(c)
    _limits(c)
    _elsewhere(c)
    c.old.close()


def _identity(c: Conversion, name: str | None) -> None:
    given = c.old.text("name")
    wanted = name or given or re.sub(r"_(subagent|agent)$", "", c.folder.name) or "unnamed"
    proper = re.sub(r"[^a-z0-9_-]+", "_", wanted.lower()).strip("_-") or "unnamed"
    proper = (proper if proper[0].isalpha() else f"b_{proper}")[:63]
    c.put(proper, "name", origin=("name",))
    if proper != given and not name:
        c.old.note("assumed", ("name",), f"a name is small letters, digits, - and _: {proper}")
    version = c.old.text("version")
    if version:
        c.put(version, "version", origin=("version",))
    c.put("", "description", origin=("description",))


def _description(c: Conversion) -> None:
    """The old description, else the first sentence of the system prompt."""
    text = " ".join((c.old.text("description") or "").split())
    if not text:
        prompt = c.new["prompts"].get("system")
        text = first_sentence((c.text_of(prompt) or "") if prompt else "") or f"The bundle {c.new['name']}."
        c.old.note("assumed", ("description",), f"a description is needed: {text}")
    c.new["description"] = text[:1000]


def _nodes(c: Conversion) -> None:
    types: list[str] = []
    for index, item in enumerate(c.old.items("node_types")):
        if isinstance(item, str):
            c.old.take("node_types", index)
            types.append(_NODE_TYPES.get(item, item))
    if types:
        c.put(list(dict.fromkeys(types)), "nodes", "types", origin=("node_types",))
        c.origins[("nodes",)] = ("node_types",)


def _loop(c: Conversion) -> None:
    turns = c.old.whole("max_turns")
    if turns is None and c.shape != "late":
        turns = _OLD_TURNS
    if turns is not None and turns > 0:
        c.put(min(turns, 1000), "loop", "max_turns", origin=("max_turns",))
    elif turns is not None:
        c.old.lost(("max_turns",), f"{turns} meant the deployment's own number: 8, the format's default, is in force")
    ending, origin = _ending(c)
    if ending:
        c.put(ending, "loop", "termination_tool", origin=origin)
    elif c.shape == "late":
        c.put("finish", "loop", "on_no_call")
        c.old.note("assumed", (), "no tool ends a task: a turn without a call does (loop.on_no_call: finish)")
    if "loop" in c.new:
        c.origins.setdefault(("loop",), ("max_turns",))


def _ending(c: Conversion) -> tuple[str | None, JsonPath | None]:
    for key in ("termination_tool", "termination"):
        if isinstance(c.old.get(key), dict):
            inner = next((name for name in ("tool", "tool_name", "name") if name in c.old.get(key)), None)
            if inner and (text := c.old.text(key, inner)):
                return text, (key, inner)
        elif text := c.old.text(key):
            return text, (key,)
    return ("submit_result", None) if "submit_result" in c.tools else (None, None)


def _permissions(c: Conversion) -> None:
    """What the scripts declare that they do, and no more than their own words say."""
    from engine.tools import EXTERNALS

    said = [(script, declared(script.text)) for script in c.scripts]
    kinds = {EXTERNALS[name].permission for _, item in said for name in item.externals if name in EXTERNALS}
    if "write" in kinds:
        c.put(["**/*"], "permissions", "write")
        c.old.note(
            "assumed", (), "its scripts write files: permissions.write allows all; name the files that are meant"
        )
    commands = list(dict.fromkeys(argv for _, item in said for argv in item.commands))
    if commands:
        c.put([list(argv) for argv in commands], "permissions", "run")
        shown = ", ".join(" ".join(argv) for argv in commands)
        c.old.note("assumed", (), f"its scripts run commands: permissions.run allows {shown}")
    for script, item in said:
        for line in item.open_commands:
            c.old.note(
                "lost", (), f"{script.path}:{line} runs a command that only a run tells: add it to permissions.run"
            )
    if "ask" in kinds:
        c.put(True, "permissions", "ask")


def _limits(c: Conversion) -> None:
    value = c.old.get("limits")
    if isinstance(value, dict):
        for key in _LIMITS:
            number: Any = value.get(key)
            if isinstance(number, (int, float)) and not isinstance(number, bool) and number > 0:
                c.put(c.old.take("limits", key), "limits", key, origin=("limits", key))
        for key in value:
            if key not in c.new.get("limits", {}):
                c.old.lost(("limits", key), "limits of scripts belong to a tool: tools[].limits")
    else:
        c.old.lost(("limits",), "there are no named limits: each tool has its own, tools[].limits")


def _elsewhere(c: Conversion) -> None:
    """Keys whose business is not the bundle's any more."""
    name = c.new["name"]
    places = {
        "priority": f"engine.yaml says it: operations: {{{name}: {{bundle: {name}, priority: high}}}}",
        "requires_context": "the engine has no index of a project that a bundle could need",
        "externals_version": "the externals have no versions",
        "self_reflect": "a task does not judge itself after its end",
        "registries": "tools are .pym scripts of the bundle",
    }
    for key, why in places.items():
        if key != "registries" or not c.old.items("registries"):
            c.old.lost((key,), why)

"""Tools and context providers."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from engine.bundle.migrate.conversion import Conversion, ToolScript
from engine.bundle.migrate.finding_scripts import SUFFIX, all_below, by_name, by_path
from engine.bundle.migrate.scripts import Declared, declared
from engine.manifest import JsonPath

# Inputs that earlier systems filled in, and what fills them now.
_FILLED = {
    "node_text_input": "node.text",
    "node_source": "node.text",
    "target_file": "node.file_path",
    "target_file_input": "node.file_path",
    "workspace_id": "node.node_id",
}
_SOURCES = {
    "path": ("pym",),
    "name": ("tool_name", "name"),
    "description": ("tool_description", "description"),
    "inputs": ("inputs_override",),
    "context": ("context_providers",),
}
_DETAILS = ("min_length", "max_length", "pattern", "enum", "minimum", "maximum", "min_items", "max_items")


def convert_tools(c: Conversion) -> None:
    """Fill in `tools` and `context`."""
    folders = _folders(c)
    entries: list[Any] = []
    listed = c.old.items("tools")
    for index, item in enumerate(listed):
        entry = _listed(c, item, ("tools", index), folders)
        if entry is not None:
            _trace(c, entry, ("tools", len(entries)), ("tools", index))
            entries.append(entry)
    if not listed:
        found = all_below(c, folders)
        entries = [_entry(c, script, _stem(script.path), ()) for script in found]
        c.old.note("assumed", ("agents_dir",), f"each of the {len(found)} scripts in it is a tool, by name")
    providers = [{"name": name, "path": path} for path, name in c.context.items()]
    if providers:
        c.put(providers, "context")
    c.put(entries, "tools", origin=("tools",) if listed else ("agents_dir",))


def _trace(c: Conversion, entry: Any, new: JsonPath, old: JsonPath) -> None:
    """Say where the parts of an entry come from."""
    c.origins[new] = old
    if isinstance(entry, dict):
        for key in entry:
            sources = [name for name in _SOURCES.get(key, ()) if c.old.get(*old, name) is not None]
            if sources:
                c.origins[(*new, key)] = (*old, sources[0])
        for name, details in entry.get("inputs", {}).items():
            place = (*old, "inputs_override", name)
            c.origins[(*new, "inputs", name)] = place
            c.origins.update({(*new, "inputs", name, key): (*place, key) for key in details})


def _folders(c: Conversion) -> list[str]:
    """The folders in which an old manifest's tools lie, the nearest first."""
    named: list[str] = []
    for index, item in enumerate(c.old.items("registries")):
        kind = c.old.text("registries", index, "type") if isinstance(item, dict) else None
        if kind not in (None, "grail"):
            c.old.lost(("registries", index), f"a registry of type {kind} has no place here: tools are .pym scripts")
            continue
        folder = c.old.text("registries", index, "config", "agents_dir")
        named += [folder] if folder else []
        for key in ("use_grail_check", "cache_schemas"):
            c.old.lost(("registries", index, "config", key), "scripts are always checked, and schemas read from them")
    top = c.old.text("agents_dir")
    named += [top] if top else []
    default = ["agents", "tools"] if c.shape == "flat" else ["tools", "agents"]
    return list(dict.fromkeys(posixpath.normpath(folder) for folder in [*named, *default]))


def _listed(c: Conversion, item: Any, path: JsonPath, folders: list[str]) -> Any:
    """Return the new entry of one entry of the old list; None where there is nothing to be made of it."""
    if isinstance(item, str):
        c.old.take(*path)
        script = by_path(c, item, path, "tools") if item.endswith(SUFFIX) else by_name(c, item, folders, path)
        return _entry(c, script, _stem(script.path), path)
    if not isinstance(item, dict):
        c.old.lost(path, "it is neither a name nor a mapping")
        return None
    registry = c.old.text(*path, "registry")
    if registry not in (None, "grail"):
        c.old.lost(path, f"its registry {registry} has no place here: write the tool as a .pym script")
        return None
    file, name = c.old.text(*path, "pym"), c.old.text(*path, "tool_name") or c.old.text(*path, "name")
    if not file and not name:
        c.old.lost(path, "it names no script")
        return None
    script = by_path(c, file, (*path, "pym"), "tools") if file else by_name(c, str(name), folders, path)
    return _entry(c, script, name or _stem(script.path), path)


def _stem(path: str) -> str:
    return posixpath.basename(path).removesuffix(SUFFIX)


def _entry(c: Conversion, script: ToolScript, name: str, path: JsonPath) -> Any:
    """Return the entry of a tool: its script's path alone, or a mapping with what is said about it."""
    said = declared(script.text)
    entry: dict[str, Any] = {"path": script.path}
    if name != _stem(script.path):
        entry["name"] = name
    if path:
        description = c.old.text(*path, "tool_description") or c.old.text(*path, "description")
        if description:
            entry["description"] = description.strip()
        inputs = _inputs(c, (*path, "inputs_override"), said, script)
        if inputs:
            entry["inputs"] = inputs
    bind = {variable: _FILLED[variable] for variable in said.inputs if variable in _FILLED}
    if bind:
        entry["bind"] = bind
    context = _context(c, path) if path else []
    if context:
        entry["context"] = context
    c.scripts.append(script)
    c.tools.append(name)
    return entry if len(entry) > 1 else script.path


def _inputs(c: Conversion, path: JsonPath, said: Declared, script: ToolScript) -> dict[str, Any]:
    from engine.tools import SYSTEM_INPUTS

    by_given = {given: variable for variable, given in said.inputs.items()}
    result: dict[str, Any] = {}
    for key in c.old.mapping(*path):
        name = key if key in said.inputs else by_given.get(key)
        if script.text and name is None:
            c.old.lost((*path, key), f"the script has no input {key}")
        elif name in SYSTEM_INPUTS or name in _FILLED:
            c.old.lost((*path, key), "the engine fills this input, so the model is told nothing about it")
        else:
            details = _details(c, (*path, key), script, name or key)
            if details:
                result[name or key] = details
    return result


def _details(c: Conversion, path: JsonPath, script: ToolScript, name: str) -> dict[str, Any]:
    """What is told about one input, less what the script's declaration contradicts."""
    if isinstance(c.old.get(*path), str):
        return {"description": c.old.text(*path)}
    details: dict[str, Any] = {}
    if c.old.mapping(*path):
        schema = _schema(script, name)
        description = c.old.text(*path, "description")
        if description:
            details["description"] = description.strip()
        kind = c.old.take(*path, "type")
        if schema and kind is not None and schema.get("type") not in (kind, None):
            c.old.lost((*path, "type"), f"the script says what type the input has: {schema.get('type')}")
        _default(c, path, schema, details)
        for key in _DETAILS:
            value = c.old.get(*path, key)
            if value is not None:
                details[key] = c.old.take(*path, key)
    return details


def _default(c: Conversion, path: JsonPath, schema: dict[str, Any] | None, details: dict[str, Any]) -> None:
    from engine.grammar.argument_check import fits

    if "default" not in (c.old.get(*path) or {}):
        return
    value = c.old.take(*path, "default")
    if schema is None or fits(schema, value):
        details["default"] = value
    elif value is not None:
        c.old.lost((*path, "default"), "it does not fit the type that the script gives the input")


def _schema(script: ToolScript, name: str) -> dict[str, Any] | None:
    from engine.tools import parse_script

    parsed = parse_script(script.text, script.path).script if script.text else None
    item = parsed.input(name) if parsed else None
    return dict(item.schema) if item else None


def _context(c: Conversion, path: JsonPath) -> list[str]:
    """The names of a tool's context providers; each is added to the bundle's the first time."""
    names = []
    for index, item in enumerate(c.old.items(*path, "context_providers")):
        place = (*path, "context_providers", index)
        if not isinstance(item, str) or not item.strip():
            c.old.lost(place, "it is no path")
            continue
        c.old.take(*place)
        script = by_path(c, item if item.endswith(SUFFIX) else item + SUFFIX, place, "context")
        if script.path not in c.context:
            c.context[script.path] = _identifier(_stem(script.path), set(c.context.values()))
            c.scripts.append(script)
        names.append(c.context[script.path])
    return list(dict.fromkeys(names))


def _identifier(text: str, taken: set[str]) -> str:
    name = re.sub(r"\W", "_", text, flags=re.ASCII) or "context"
    name = f"_{name}" if name[0].isdigit() else name
    chosen, number = name, 2
    while chosen in taken:
        chosen, number = f"{name}_{number}", number + 1
    return chosen

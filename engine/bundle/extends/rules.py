"""What merging knows of the format: lists by name, keys that exclude each other, where null is a value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from engine.manifest import JsonPath

OWN_KEYS = ("format", "name")
"""Keys that are never inherited: every manifest says what it is."""

EXCLUSIVE: Mapping[JsonPath, tuple[tuple[str, str], ...]] = {
    ("model",): (("id", "role"),),
    ("adapters", "*"): (("name", "path"), ("name", "gguf")),
    ("nodes",): (("types", "query"),),
}
"""The `exclusive` of the models, by place; `*` is any key."""

NAMED = ("tools", "context")
"""Lists whose entries are merged by name."""

_KINDS = ("path", "python", "mcp")
_NULLS = ("default", "const")


def partners(path: JsonPath, over: Mapping[str, Any]) -> set[str]:
    """Return the keys that are not inherited because of others that were given.

    Args:
        path: The place of the mapping.
        over: The mapping as given.
    """
    place = ("adapters", "*") if len(path) == 2 and path[0] == "adapters" else path
    found = set()
    for pair in EXCLUSIVE.get(place, ()):
        for key, other in (pair, pair[::-1]):
            if over.get(key) is not None and other not in over:
                found.add(other)
    strategy = over.get("strategy")
    if path == ("grammar",) and isinstance(strategy, str) and strategy.partition("@")[0] != "custom":
        found.add("file")  # a grammar of its own belongs to strategy custom
    return found - set(over)


def is_whole(path: JsonPath) -> bool:
    """Whether a value is replaced as one: a keyword of a param's schema, the default of an input."""
    return (path[0] == "params" and len(path) > 2) or _is_default(path)


def is_null_a_value(path: JsonPath) -> bool:
    """Whether null is a value here, and removes nothing."""
    return (path[0] == "params" and len(path) > 2 and (path[2] in _NULLS or len(path) > 3)) or _is_default(path)


def _is_default(path: JsonPath) -> bool:
    return path[0] == "tools" and path[2:3] == ("inputs",) and path[4:5] == ("default",)


def name_of(key: str, entry: Any) -> object:
    """Return what an entry of a named list goes by; None for one that has no name."""
    if isinstance(entry, str):
        return PurePosixPath(entry).stem if key == "tools" else None
    if not isinstance(entry, dict):
        return None
    name = entry.get("name")
    if isinstance(name, str) or key == "context":
        return name if isinstance(name, str) else None
    return _name_of_tool(entry)


def _name_of_tool(entry: Mapping[str, Any]) -> object:
    """A script goes by its stem, a callable by its own name, a server by its command."""
    path, python, server = (entry.get(kind) for kind in _KINDS)
    if isinstance(path, str):
        return PurePosixPath(path).stem
    if isinstance(python, str):
        return python.partition(":")[2].rpartition(".")[2]
    command = server.get("command") if isinstance(server, dict) else None
    return tuple(map(str, command)) if isinstance(command, list) else None


def is_other_kind(base: Mapping[str, Any], over: Mapping[str, Any]) -> bool:
    """Whether one is another kind of tool than the other, so that nothing can be inherited."""
    given = {kind for kind in _KINDS if kind in over}
    return bool(given) and not given.intersection(kind for kind in _KINDS if kind in base)


def removes(entry: Any) -> bool:
    """Whether an entry of a named list removes the inherited one."""
    return isinstance(entry, dict) and entry.get("remove") is True


def words_beside(entry: Mapping[str, Any]) -> list[str]:
    """Return the keys of a removing entry that say nothing about what it removes."""
    return [key for key in entry if key not in ("remove", "name", *_KINDS)]

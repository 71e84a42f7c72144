"""Local references of a schema: what they name, and which of them lead back to themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from engine.grammar.merge import Schema


def resolve(root: Schema, ref: str) -> Schema | None:
    """Return what a local JSON pointer such as `#/$defs/Item` names, or None."""
    if not ref.startswith("#"):
        return None
    at: Any = root
    for part in ref[1:].split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        at = at.get(name) if isinstance(at, Mapping) else None
    return at if isinstance(at, (Mapping, bool)) else None


def _refs_in(schema: Any) -> Iterator[str]:
    todo = [schema]
    while todo:
        item = todo.pop()
        if isinstance(item, Mapping):
            ref = item.get("$ref")
            if isinstance(ref, str):
                yield ref
            todo += item.values()
        elif isinstance(item, (list, tuple)):
            todo += item


def recursive_refs(root: Schema) -> frozenset[str]:
    """Return the references from whose target the same reference can be reached."""
    direct = {ref: frozenset(_refs_in(resolve(root, ref))) for ref in frozenset(_refs_in(root))}
    return frozenset(ref for ref in direct if ref in _reachable(direct, ref))


def _reachable(direct: Mapping[str, frozenset[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(direct[start])
    while todo:
        ref = todo.pop()
        if ref not in seen:
            seen.add(ref)
            todo += direct.get(ref, ())
    return seen

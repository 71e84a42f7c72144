"""Moves comments from the places of an old manifest to those of the new one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.bundle.migrate.comments import Comments
from engine.manifest import JsonPath, dotted

_SCHEMA_LINE = "# yaml-language-server:"


def moved_comments(old: Comments, origins: Mapping[JsonPath, JsonPath], new: Mapping[str, Any]) -> Comments:
    """Return the comments by the paths of the new manifest.

    A comment stays with its key; where only what is around the key was carried over, it stands above that; comments on
    what has no place any more stand at the end, each with its old key.

    Args:
        old: The old manifest's comments.
        origins: Old paths by new path.
        new: The new manifest.
    """
    places: dict[JsonPath, JsonPath] = {}
    for path, origin in origins.items():
        if _exists(new, path):
            places.setdefault(origin, path)
    result = Comments(head=[line for line in old.head if not line.startswith(_SCHEMA_LINE)])
    homeless: list[str] = []
    for path, lines in old.above.items():
        kept = [line for line in lines if not line.startswith(_SCHEMA_LINE)]
        place = _place(path, places)
        if place:
            result.above.setdefault(place, []).extend(kept)
        else:
            homeless += [f"# {dotted(path)}: {line.lstrip('# ')}" for line in kept]
    for path, line in old.beside.items():
        place = _place(path, places)
        if place and places.get(path) == place and place not in result.beside:
            result.beside[place] = line
        elif place:
            result.above.setdefault(place, []).append(line)
        else:
            homeless.append(f"# {dotted(path)}: {line.lstrip('# ')}")
    result.tail = [*old.tail, *homeless]
    return result


def _place(path: JsonPath, places: Mapping[JsonPath, JsonPath]) -> JsonPath | None:
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return places[path[:end]]
    return None


def _exists(data: Any, path: JsonPath) -> bool:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True

"""An old manifest as the conversion reads it: typed values, and a memory of what was read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import yaml

from engine.bundle.migrate.notes import Kind, Note
from engine.manifest import Document, JsonPath, dotted

T = TypeVar("T")

_NAMES: dict[type, str] = {str: "text", int: "a whole number", bool: "true or false", dict: "a mapping", list: "a list"}


class Old:
    """The values of an old manifest; whatever was not taken in the end is a note.

    Plain values that YAML 1.1 and 1.2 read differently are taken as YAML 1.1 has them, for so they were read.
    """

    def __init__(self, document: Document) -> None:
        self.document = document
        self.data = _in_yaml_1_1(document)
        self.notes: list[Note] = []
        self._taken: set[JsonPath] = set()

    def get(self, *path: str | int) -> Any:
        """Return the value at the path, None where there is none; it does not count as taken."""
        value: Any = self.data
        for step in path:
            listed = isinstance(value, list) and isinstance(step, int) and step < len(value)
            if not listed and not (isinstance(value, dict) and step in value):
                return None
            value = value[step]
        return value

    def take(self, *path: str | int) -> Any:
        """Return the value at the path, which is dealt with now."""
        self._taken.add(path)
        return self.get(*path)

    def text(self, *path: str | int) -> str | None:
        """Take a text; a number is its text."""
        value = self.take(*path)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return str(value)
        return self._typed(value, str, path)

    def whole(self, *path: str | int) -> int | None:
        """Take a whole number."""
        value = self.take(*path)
        if isinstance(value, bool):
            self._wrong(int, path)
            return None
        return self._typed(value, int, path)

    def flag(self, *path: str | int) -> bool | None:
        """Take a boolean."""
        return self._typed(self.take(*path), bool, path)

    def items(self, *path: str | int) -> list[Any]:
        """Return a list; its items are to be taken one by one."""
        value = self.get(*path)
        if value is None or isinstance(value, list):
            return value or []
        self._taken.add(path)
        self._wrong(list, path)
        return []

    def mapping(self, *path: str | int) -> dict[str, Any]:
        """Return a mapping; its values are to be taken one by one."""
        value = self.get(*path)
        if value is None or isinstance(value, dict):
            return value or {}
        self._taken.add(path)
        self._wrong(dict, path)
        return {}

    def note(self, kind: Kind, path: JsonPath, message: str) -> None:
        """Add a note at the path, or at the nearest one that the manifest has."""
        span = self.document.positions.key(path)
        self.notes.append(Note(span.file, span.line, span.column, kind, dotted(path), message))

    def lost(self, path: JsonPath, why: str) -> None:
        """Take what is at the path and say why it is not carried over; nothing where the path does not exist."""
        if path in self.document.positions:
            self._taken.add(path)
            self.note("lost", path, why)

    def close(self) -> None:
        """Say of everything that was not taken that it is not carried over."""
        for path in list(_untaken(self.data, (), self._taken)):
            self.lost(path, "the format has no such key")

    def _typed(self, value: Any, kind: type[T], path: JsonPath) -> T | None:
        if value is None or isinstance(value, kind):
            return value
        self._wrong(kind, path)
        return None

    def _wrong(self, kind: type, path: JsonPath) -> None:
        self.lost(path, f"it is not {_NAMES[kind]}, so its meaning is not known")


def _untaken(value: Any, path: JsonPath, taken: set[JsonPath]) -> Iterator[JsonPath]:
    """Yield the highest paths of which nothing was taken."""
    if path in taken:
        return
    begun = any(item[: len(path)] == path for item in taken)
    if not path or (begun and isinstance(value, (dict, list))):
        steps = value.items() if isinstance(value, dict) else enumerate(value)
        for step, item in steps:
            yield from _untaken(item, (*path, step), taken)
    elif value not in (None, [], {}):
        yield path


def _in_yaml_1_1(document: Document) -> dict[str, Any]:
    surprises = document.tainted - document.odd_keys
    return {key: _settled(value, (key,), surprises) for key, value in document.data.items()}


def _settled(value: Any, path: JsonPath, surprises: frozenset[JsonPath]) -> Any:
    if isinstance(value, dict):
        return {key: _settled(item, (*path, key), surprises) for key, item in value.items()}
    if isinstance(value, list):
        return [_settled(item, (*path, index), surprises) for index, item in enumerate(value)]
    if path not in surprises:
        return value
    try:
        read = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError):
        return value
    return read if isinstance(read, (bool, int)) else value

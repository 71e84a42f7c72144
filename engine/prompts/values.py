"""Turns what the engine knows (dataclasses, paths, enums, sets) into the plain data that a template sees."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Any

MAX_DEPTH = 32


def plain(value: Any, depth: int = 0) -> Any:
    """Return the value as str, int, float, bool, None, list or dict; a dataclass becomes the dict of its attributes.

    Raises:
        TypeError: A value, or something in it, is not data.
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if depth >= MAX_DEPTH:
        raise TypeError(f"a value is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, AbstractSet):
        return sorted((plain(item, depth + 1) for item in value), key=repr)
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name), depth + 1) for name in _attributes(type(value))}
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, PurePath):
        return value.as_posix()
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a value of type {type(value).__name__} is not data that a template can use")


@lru_cache(maxsize=256)
def _attributes(kind: type) -> tuple[str, ...]:
    names = [item.name for item in fields(kind)]
    names += [name for name in dir(kind) if isinstance(getattr(kind, name, None), property)]
    return tuple(name for name in names if not name.startswith("_"))

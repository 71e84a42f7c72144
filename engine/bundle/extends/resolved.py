"""A manifest as it is in force: with what it inherits and every default, and where each value comes from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.bundle.extends.rules import NAMED
from engine.bundle.names import as_script
from engine.diagnostics import Span
from engine.manifest import Document, JsonPath, Manifest, Typed
from engine.manifest.bundle_model import Model

DEFAULT = "default"
"""The origin of a value that nobody wrote."""

_NAMED_LISTS = tuple((key,) for key in NAMED)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A manifest as plain data.

    Attributes:
        data: The manifest, in the order of the format.
        origins: Where each of its leaves was written: a scalar, an empty mapping, or a list without mappings in it;
            DEFAULT where nobody wrote it.
    """

    data: Mapping[str, Any]
    origins: Mapping[JsonPath, Span | str]


def as_written(document: Document) -> Resolved:
    """Return a manifest as its author wrote it."""
    document = document.written
    origins = {path: document.positions.value(path) for path, _ in leaves(document.data)}
    return Resolved(document.data, origins)


def resolve(document: Document, typed: Typed[Manifest]) -> Resolved:
    """Return a manifest with what it inherits and with every default filled in.

    What is wrong in it is shown as written. Written to a `bundle.yaml` beside the bundle's files and the inherited
    ones, the data of a manifest without findings reads as the same manifest. A default is left out where it is null,
    which says nothing, and where a key that excludes it is given.

    Args:
        document: The manifest, merged with those of its parents.
        typed: What the schema made of it.
    """
    defaults = _plain(typed.model) if typed.model is not None else {}
    data = _filled(document.data, defaults, (), typed)
    return Resolved(data, {path: _origin(document, path) for path, _ in leaves(data)})


def leaves(value: Any, path: JsonPath = ()) -> Iterator[tuple[JsonPath, Any]]:
    """Yield what has an origin of its own, in order."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif has_mapping(value) or (value and path in _NAMED_LISTS and isinstance(value, list)):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path, value


def has_mapping(value: Any) -> bool:
    """Whether a value is a list with a mapping somewhere in it."""
    return isinstance(value, list) and any(isinstance(item, dict) or has_mapping(item) for item in value)


def _origin(document: Document, path: JsonPath) -> Span | str:
    if path in document.positions:
        return document.positions.value(path)
    is_shorthand = len(path) == 3 and path[0] == "tools" and path[2] == "path"
    if is_shorthand and path[:2] in document.positions and isinstance(document.data["tools"][path[1]], str):
        return document.positions.value(path[:2])
    return DEFAULT


def _plain(value: Any) -> Any:
    """Return a model as plain data, without defaults that would say nothing or exclude what was given."""
    if isinstance(value, Model):
        return {name: _plain(item) for name, item in _given(value)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _given(model: Model) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a model that were given, and the defaults that say something."""
    given = model.model_fields_set
    barred = {other for pair in model.exclusive for key, other in (pair, pair[::-1]) if key in given}
    for name in type(model).model_fields:
        item = getattr(model, name)
        if name in given or (item is not None and name not in barred):
            yield name, _tools(item) if isinstance(model, Manifest) and name == "tools" else item


def _tools(entries: tuple[Any, ...]) -> list[Any]:
    """Spell out the shorthand of tools."""
    return [as_script(entry) or entry for entry in entries]


def _filled(value: Any, defaults: Any, path: JsonPath, typed: Typed[Manifest]) -> Any:
    """Return a value with the defaults that it lacks; its own parts are as they were written."""
    if path[:1] == ("tools",) and len(path) == 2 and isinstance(value, str) and isinstance(defaults, dict):
        value = {"path": value}
    if isinstance(value, dict) and isinstance(defaults, dict):
        known = {key: item for key, item in defaults.items() if key in value or typed.sound(*path, key)}
        filled = {
            key: _filled(value[key], item, (*path, key), typed) if key in value else item for key, item in known.items()
        }
        return {**filled, **{key: item for key, item in value.items() if key not in filled}}
    if isinstance(value, list) and isinstance(defaults, list) and len(value) == len(defaults):
        pairs = enumerate(zip(value, defaults, strict=True))
        return [_filled(item, default, (*path, index), typed) for index, (item, default) in pairs]
    return value

"""Annotations as JSON Schemas: an allow-list over the syntax tree, never `eval`."""

from __future__ import annotations

import ast
import json
from functools import lru_cache
from typing import Any, Literal, Optional, Union

_SIMPLE: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "None": None,
    "Any": Any,
    "object": Any,
    "list": list[Any],
    "List": list[Any],
    "dict": dict[str, Any],
    "Dict": dict[str, Any],
}
_LISTS = frozenset({"list", "List"})
_DICTS = frozenset({"dict", "Dict"})
TYPING_NAMES = frozenset({"Any", "Dict", "List", "Literal", "Optional", "Union"})
_MAX_DEPTH = 16


class AnnotationError(ValueError):
    """An annotation is outside of the allow-list; the message says why."""


def annotation_type(node: ast.expr, depth: int = 0) -> Any:
    """Return the type that an annotation means.

    Raises:
        AnnotationError: It cannot become a JSON Schema.
    """
    if depth > _MAX_DEPTH:
        raise AnnotationError("it is nested too deeply")
    name = _name(node)
    if name is not None:
        return _named(name)
    if isinstance(node, ast.Constant):
        return _constant(node, depth)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return Union[annotation_type(node.left, depth + 1), annotation_type(node.right, depth + 1)]  # noqa: UP007 - built
    if isinstance(node, ast.Subscript):
        return _generic(node, depth)
    raise AnnotationError(f"'{shown(node)}' is not a type")


def schema_of(node: ast.expr) -> dict[str, Any]:
    """Return the JSON Schema of an annotation; each call returns a fresh copy.

    Raises:
        AnnotationError: It cannot become a JSON Schema.
    """
    kind = annotation_type(node)
    schema: dict[str, Any] = json.loads(_schema(_Kind(shown(node), kind)))
    return schema


def shown(node: ast.expr) -> str:
    """Return an annotation as text."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def _named(name: str) -> Any:
    if name in _SIMPLE:
        return _SIMPLE[name]
    if name in {"tuple", "Tuple", "set", "Set", "frozenset", "Sequence", "Iterable"}:
        raise AnnotationError(f"'{name}' has no JSON form; use list")
    raise AnnotationError(f"'{name}' is not one of {', '.join(sorted(_SIMPLE))}, Literal, Optional, Union")


def _constant(node: ast.Constant, depth: int) -> Any:
    if node.value is None:
        return None
    if isinstance(node.value, str):
        try:
            return annotation_type(ast.parse(node.value, mode="eval").body, depth + 1)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise AnnotationError(f"'{node.value}' is not a type") from error
    raise AnnotationError(f"'{node.value!r}' is not a type")


def _generic(node: ast.Subscript, depth: int) -> Any:
    name = _name(node.value)
    items = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
    if name == "Literal":
        return Literal[tuple(_literal(item) for item in items)]
    types = [annotation_type(item, depth + 1) for item in items]
    if name in _LISTS and len(types) == 1:
        return list[types[0]]  # type: ignore[valid-type]  # built at run time
    if name in _DICTS and len(types) == 2:
        if types[0] is not str:
            raise AnnotationError("the keys of a dict must be str")
        return dict[str, types[1]]  # type: ignore[valid-type]  # built at run time
    if name == "Optional" and len(types) == 1:
        return Optional[types[0]]  # noqa: UP045 - built at run time
    if name == "Union" and types:
        return Union[tuple(types)]  # noqa: UP007 - built at run time
    raise AnnotationError(f"'{shown(node)}' is not a type that has a JSON Schema")


def _literal(node: ast.expr) -> str | int | bool | None:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError) as error:
        raise AnnotationError(f"'{shown(node)}' is not a literal") from error
    if value is not None and not isinstance(value, (str, int)):
        raise AnnotationError(f"{value!r} cannot be a value of Literal")
    return value


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "typing":
        return node.attr
    return None


class _Kind:
    """A type as a cache key, equal when the annotations read the same: types themselves may not be hashable."""

    def __init__(self, text: str, kind: Any) -> None:
        self.text = text
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kind) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


@lru_cache(maxsize=1024)
def _schema(kind: _Kind) -> str:
    from pydantic import TypeAdapter

    return json.dumps(TypeAdapter(kind.kind).json_schema())

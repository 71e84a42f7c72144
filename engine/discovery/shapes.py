"""What a query found, before it is named: shapes, in the order of the file."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

SCOPES = frozenset({"scope", "container"})


class Shape:
    """A definition in the tree.

    Attributes:
        kind: The node type, or `scope` (gives its name to what it holds) or `container` (its functions are methods).
        name: The name as written.
        owner: The name of the type that a method is declared for, where the syntax has it apart.
        node: The definition itself, without decorators.
        start: First byte, decorators included.
        end: Byte behind the last.
        first_row: Row of the first byte, 0-based.
        end_row: Row of the byte behind the last.
    """

    # Written out: a worker process would wait for the dataclasses module.
    __slots__ = ("end", "end_row", "first_row", "kind", "name", "node", "owner", "start")

    def __init__(self, kind: str, name: str, owner: str, node: Node) -> None:
        self.kind = kind
        self.name = name
        self.owner = owner
        self.node = node
        self.start, self.end = node.byte_range
        self.first_row = node.start_point.row
        self.end_row = node.end_point.row

    def span_as(self, other: Shape) -> None:
        """Take the span of another shape."""
        self.start, self.end = other.start, other.end
        self.first_row, self.end_row = other.first_row, other.end_row


class Found:
    """Everything that a query captured in a file: shapes, and the byte ranges of comments."""

    __slots__ = ("comments", "shapes")

    def __init__(self) -> None:
        self.shapes: list[Shape] = []
        self.comments: list[tuple[int, int]] = []


@lru_cache(maxsize=512)
def _parts(capture: str) -> tuple[str, str, str] | None:
    """Return, for a capture that marks a definition, its kind and the captures of its name and owner."""
    kind, _, part = capture.rpartition(".")
    return (kind, f"{kind}.name", f"{kind}.owner") if part == "def" else None


def collect(matches: Iterable[tuple[int, dict[str, list[Node]]]], source: bytes) -> Found:
    """Sort a query's matches into definitions, what is wrapped around them, and comments.

    Captures: `@TYPE.def` with `@TYPE.name` and `@TYPE.owner`; `@inner` inside `@outer`, a wrapper that belongs to the
    definition; `@prefix`, a wrapper written before it; `@comment`; `@node`, a definition whose type is its grammar's.
    """
    found = Found()
    outer: dict[int, Node] = {}
    prefixes: list[tuple[int, int, int]] = []
    for _, captures in matches:
        if "outer" in captures:
            outer[captures["inner"][0].id] = captures["outer"][0]
        elif "comment" in captures:
            found.comments.extend(node.byte_range for node in captures["comment"])
        elif "prefix" in captures:
            prefixes.extend((node.end_byte, node.start_byte, node.start_point.row) for node in captures["prefix"])
        else:
            _add_shapes(captures, found.shapes)
    if outer:
        for shape in found.shapes:
            if shape.node.id in outer:
                _widen(shape, outer)
    if prefixes:
        prefixes.sort()
        for shape in found.shapes:
            _take_prefixes(shape, prefixes, source)
    found.comments.sort()
    found.shapes = _unique(found.shapes)
    return found


def _add_shapes(captures: dict[str, list[Node]], shapes: list[Shape]) -> None:
    for capture, nodes in captures.items():
        if parts := _parts(capture):
            kind, name, owner = parts
            named, owned = _text(captures.get(name)), _text(captures.get(owner)) if owner in captures else ""
            shapes.extend([Shape(kind, named, owned, node) for node in nodes])
        elif capture == "node":
            shapes.extend([Shape(node.type, _text(node.children_by_field_name("name")), "", node) for node in nodes])


def _text(nodes: list[Node] | None) -> str:
    text = nodes[0].text if nodes else None
    return text.decode("utf-8", "replace") if text else ""


def _widen(shape: Shape, outer: dict[int, Node]) -> None:
    """Take in the wrappers around a definition, from the inside out."""
    around = outer.get(shape.node.id)
    while around is not None:
        shape.start, shape.end = around.byte_range
        shape.first_row, shape.end_row = around.start_point.row, around.end_point.row
        around = outer.get(around.id)


def _take_prefixes(shape: Shape, prefixes: list[tuple[int, int, int]], source: bytes) -> None:
    """Take in the attributes or decorators that stand directly before a definition."""
    position = bisect_right(prefixes, (shape.start, shape.start, 1 << 62)) - 1
    while position >= 0 and not source[prefixes[position][0] : shape.start].strip():
        _, shape.start, shape.first_row = prefixes[position]
        position -= 1


def _unique(shapes: list[Shape]) -> list[Shape]:
    """Sort by position, outer ones first, and keep one shape per definition and kind."""
    kept: dict[tuple[int, str], Shape] = {}
    for shape in shapes:
        kept.setdefault((shape.node.id, shape.kind), shape)
    return sorted(kept.values(), key=lambda shape: (shape.start, -shape.end, shape.node.start_byte))

"""From the bytes of one file to the rows of its nodes. Pure: no file is read here."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from engine.discovery.docs import comment_above, python_docstring
from engine.discovery.languages import custom_query, new_parser, own_query
from engine.discovery.shapes import SCOPES, Found, Shape, collect

if TYPE_CHECKING:
    from tree_sitter import Node

_COMMENTED = frozenset({"go", "java", "javascript", "rust", "tsx", "typescript"})

Row = tuple[str, str, str, str, "str | None", int, int, int, int]
"""A node as workers send it: id, type, name, qualified name, docstring, first and last line, first byte, end byte."""


def parse_rows(source: bytes, file_path: str, language: str, query: str | None) -> tuple[list[Row], int | None]:
    """Return the nodes of a file as rows, and the line of its first syntax error (1-based) if it has one.

    `engine.discovery.nodes.parse_file` says more; here the source must be UTF-8.
    """
    builder = _Builder(source, file_path, language)
    root = new_parser(language).parse(source).root_node
    rows = builder.build(root)
    if query is not None:
        rows = builder.custom(root, query, rows)
    return rows, _first_error(root) if root.has_error else None


def _first_error(root: Node) -> int:
    """Return the line of the first syntax error, 1-based."""
    node = root
    while not (node.is_error or node.is_missing):
        inner = next((child for child in node.children if child.has_error or child.is_missing), None)
        if inner is None:
            break
        node = inner
    return node.start_point.row + 1


class _Builder:
    """Builds the rows of one file."""

    def __init__(self, source: bytes, file_path: str, language: str) -> None:
        self.source = source
        self.file_path = file_path
        self.language = language
        self.seen: dict[bytes, int] = {}
        self.prefix = file_path.encode("utf-8", "surrogateescape") + b"\0"

    def build(self, root: Node) -> list[Row]:
        """Return the nodes of discovery's own types."""
        found = self._own(root)
        rows = [self._file(root)]
        broken = root.has_error
        stack: list[tuple[int, str, str]] = []
        for shape in found.shapes:
            while stack and stack[-1][0] <= shape.start:
                stack.pop()
            kind, name, qualified = self._named(shape, stack)
            stack.append((shape.end, shape.kind, qualified))
            if shape.kind not in SCOPES and not (broken and shape.node.has_error):
                rows.append(self._row(kind, name, qualified, shape, self._docstring(shape, found)))
        return rows

    def custom(self, root: Node, query: str, own: list[Row]) -> list[Row]:
        """Return what a query marks, as own nodes where they are the same piece."""
        from tree_sitter import QueryCursor

        found = collect(QueryCursor(custom_query(self.language, query)).matches(root), self.source)
        by_span = {row[7:9]: row for row in own if row[1] != "file"}
        known = {} if self.language == "markdown" else {shape.node.id: shape for shape in self._own(root).shapes}
        result: dict[tuple[int, int, str], Row] = {}
        for shape in found.shapes:
            shape.span_as(known.get(shape.node.id, shape))
            span = shape.start, shape.end
            same = by_span.get(span)
            if same is not None and shape.kind in (same[1], shape.node.type):
                result[*span, same[1]] = same
            elif not shape.node.has_error:
                name = shape.name or self.source[slice(*span)].decode("utf-8").strip().split("\n")[0][:80]
                result[*span, shape.kind] = self._row(shape.kind, name, self._around(own, shape, name), shape, None)
        return [result[key] for key in sorted(result, key=lambda key: (key[0], -key[1], key[2]))]

    def _own(self, root: Node) -> Found:
        """Return what discovery's own query finds, decorators included."""
        from tree_sitter import QueryCursor

        matches = QueryCursor(own_query(self.language)).matches(root)
        if self.language != "markdown":
            return collect(matches, self.source)
        from engine.discovery.documents import markdown_shapes

        found = Found()
        found.shapes = markdown_shapes(matches, self.source)
        return found

    @staticmethod
    def _around(own: list[Row], shape: Shape, name: str) -> str:
        """Qualify a name with the innermost own node around it."""
        size = shape.end - shape.start
        holders = [
            qualified
            for _, _, _, qualified, _, _, _, start, end in own[1:]
            if start <= shape.start and shape.end <= end and end - start > size
        ]
        return f"{holders[-1]}.{name}" if holders else name

    def _named(self, shape: Shape, stack: list[tuple[int, str, str]]) -> tuple[str, str, str]:
        """Return type, name and qualified name of a shape, given what is around it."""
        kind, name = shape.kind, shape.name
        outer_kind, outer = (stack[-1][1], stack[-1][2]) if stack else ("", "")
        if kind in ("table", "table_array"):
            from engine.discovery.documents import dotted, toml_names

            parts = toml_names(shape.node.named_children[0])
            return kind, parts[-1], dotted(parts)
        if kind == "key":
            from engine.discovery.documents import yaml_name

            name = yaml_name(name)
        elif kind == "container":
            name = _bare(name)
        elif kind == "function" and outer_kind in ("class", "container"):
            kind = "method"
        if shape.owner:
            return kind, name, f"{_bare(shape.owner)}.{name}"
        joint = "/" if kind in ("section", "code_block") else "."
        return kind, name, f"{outer}{joint}{name}" if outer else name

    def _docstring(self, shape: Shape, found: Found) -> str | None:
        if self.language == "python":
            return python_docstring(shape.node.child_by_field_name("body"))
        if self.language in _COMMENTED and found.comments:
            return comment_above(self.source, shape.start, found.comments, self.language)
        return None

    def _file(self, root: Node) -> Row:
        name = self.file_path.rpartition("/")[2]
        lines = self.source.count(b"\n") + (not self.source.endswith(b"\n"))
        docstring = python_docstring(root) if self.language == "python" else None
        node_id = self._identify("file", self.file_path)
        return node_id, "file", name, self.file_path, docstring, 1, max(lines, 1), 0, len(self.source)

    def _row(self, kind: str, name: str, qualified: str, shape: Shape, docstring: str | None) -> Row:
        start, end, first, last = shape.start, shape.end, shape.first_row + 1, shape.end_row + 1
        if last > first and self.source[end - 1] == 10:
            last -= 1
        return self._identify(kind, qualified), kind, name, qualified, docstring, first, last, start, end

    def _identify(self, kind: str, qualified: str) -> str:
        """Return an id of the path, the type, the name and how many before had the same."""
        named = f"{kind}\0{qualified}\0".encode("utf-8", "surrogateescape")
        ordinal = self.seen.get(named, 0)
        self.seen[named] = ordinal + 1
        return sha256(self.prefix + named + b"%d" % ordinal).hexdigest()[:16]


def _bare(name: str) -> str:
    """Strip pointers, references and type arguments from a type's name."""
    return name.lstrip("*&( ").split("<")[0].split("[")[0].strip(" )")

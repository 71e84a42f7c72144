"""From the bytes of one file to its CodeNodes. Pure: no file is read here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from engine.discovery.docs import comment_above, python_docstring
from engine.discovery.documents import dotted, markdown_shapes, toml_names, yaml_name
from engine.discovery.languages import custom_query, new_parser, own_query
from engine.discovery.model import CodeNode
from engine.discovery.shapes import SCOPES, Found, Shape, collect

if TYPE_CHECKING:
    from tree_sitter import Node

_COMMENTED = frozenset({"go", "java", "javascript", "rust", "tsx", "typescript"})


@dataclass(frozen=True, slots=True)
class Parsed:
    """The nodes of a file, and the line of its first syntax error (1-based) if it has one."""

    nodes: list[CodeNode]
    broken_line: int | None


def parse_file(source: bytes, file_path: str, language: str, query: str | None = None) -> list[CodeNode]:
    """Return the nodes of a file in the order of their positions, the file itself first.

    Definitions that hold a syntax error are left out; what stands around them is found. A file that is not UTF-8 has
    no nodes.

    Args:
        source: The file's bytes.
        file_path: Posix path relative to the project's root; part of the ids.
        language: A name of the language table.
        query: A tree-sitter query; the result is then only what it marks, with the same ids as without a query where
            both find the same piece.

    Raises:
        BundleError: The query is not valid for the language.
    """
    try:
        return parse_text(source, source.decode("utf-8"), file_path, language, query).nodes
    except UnicodeDecodeError:
        return []


def parse_text(source: bytes, text: str, file_path: str, language: str, query: str | None) -> Parsed:
    """Do the work of `parse_file` for a source that is decoded already."""
    builder = _Builder(source, text, file_path, language)
    root = new_parser(language).parse(source).root_node
    nodes = builder.build(root)
    if query is not None:
        nodes = builder.custom(root, query, nodes)
    return Parsed(nodes, _first_error(root) if root.has_error else None)


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
    """Builds the nodes of one file."""

    def __init__(self, source: bytes, text: str, file_path: str, language: str) -> None:
        self.source = source
        self.text = text
        self.ascii = text.isascii()
        self.file_path = file_path
        self.language = language
        self.seen: Counter[tuple[str, str]] = Counter()
        self.prefix = file_path.encode("utf-8", "surrogateescape") + b"\0"

    def build(self, root: Node) -> list[CodeNode]:
        """Return the nodes of discovery's own types."""
        from tree_sitter import QueryCursor

        matches = QueryCursor(own_query(self.language)).matches(root)
        if self.language == "markdown":
            found = Found(markdown_shapes(matches, len(self.source)))
        else:
            found = collect(matches, self.source)
        nodes = [self._file(root)]
        broken = root.has_error
        stack: list[tuple[int, str, str]] = []
        for shape in found.shapes:
            while stack and stack[-1][0] <= shape.start:
                stack.pop()
            kind, name, qualified = self._named(shape, stack)
            stack.append((shape.end, shape.kind, qualified))
            if shape.kind not in SCOPES and not (broken and shape.node.has_error):
                nodes.append(self._node(kind, name, qualified, shape, self._docstring(shape, found)))
        return nodes

    def custom(self, root: Node, query: str, own: list[CodeNode]) -> list[CodeNode]:
        """Return what a query marks, as own nodes where they are the same piece."""
        from tree_sitter import QueryCursor

        found = collect(QueryCursor(custom_query(self.language, query)).matches(root), self.source)
        by_span = {(node.start_byte, node.end_byte): node for node in own if node.type != "file"}
        starts = self._definitions(root)
        result: dict[tuple[int, int, str], CodeNode] = {}
        for shape in found.shapes:
            span = starts.get(shape.node.id, (shape.start, shape.end))
            if span[0] != shape.start:
                shape.first_row = self.source.count(b"\n", 0, span[0])
            shape.start, shape.end = span
            same = by_span.get(span)
            if same is not None and shape.kind in (same.type, shape.node.type):
                result[*span, same.type] = same
            elif not shape.node.has_error:
                name = shape.name or self._slice(shape.start, shape.end).strip().split("\n")[0][:80]
                result[*span, shape.kind] = self._node(shape.kind, name, self._around(own, shape, name), shape, None)
        return sorted(result.values(), key=lambda node: (node.start_byte, -node.end_byte, node.type))

    def _definitions(self, root: Node) -> dict[int, tuple[int, int]]:
        """Map the definitions that discovery knows to their spans, decorators included."""
        from tree_sitter import QueryCursor

        if self.language == "markdown":
            return {}
        shapes = collect(QueryCursor(own_query(self.language)).matches(root), self.source).shapes
        return {shape.node.id: (shape.start, shape.end) for shape in shapes}

    @staticmethod
    def _around(own: list[CodeNode], shape: Shape, name: str) -> str:
        """Qualify a name with the innermost own node around it."""
        size = shape.end - shape.start
        holders = [
            node
            for node in own[1:]
            if node.start_byte <= shape.start and shape.end <= node.end_byte and node.end_byte - node.start_byte > size
        ]
        return f"{holders[-1].qualified_name}.{name}" if holders else name

    def _named(self, shape: Shape, stack: list[tuple[int, str, str]]) -> tuple[str, str, str]:
        """Return type, name and qualified name of a shape, given what is around it."""
        kind, name = shape.kind, shape.name
        outer_kind, outer = (stack[-1][1], stack[-1][2]) if stack else ("", "")
        if kind in ("table", "table_array"):
            parts = toml_names(shape.node.named_children[0])
            return kind, parts[-1], dotted(parts)
        if kind == "key":
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

    def _file(self, root: Node) -> CodeNode:
        name = self.file_path.rpartition("/")[2]
        end = len(self.source)
        lines = self.source.count(b"\n") + (not self.source.endswith(b"\n"))
        docstring = python_docstring(root) if self.language == "python" else None
        return self._record("file", name, self.file_path, (0, end, 1, max(lines, 1)), docstring)

    def _node(self, kind: str, name: str, qualified: str, shape: Shape, docstring: str | None) -> CodeNode:
        first = shape.first_row + 1
        last = first + self.source.count(b"\n", shape.start, shape.end)
        if last > first and self.source[shape.end - 1] == 10:
            last -= 1
        return self._record(kind, name, qualified, (shape.start, shape.end, first, last), docstring)

    def _record(
        self, kind: str, name: str, qualified: str, span: tuple[int, int, int, int], docstring: str | None
    ) -> CodeNode:
        start, end, first, last = span
        ordinal = self.seen[kind, qualified]
        self.seen[kind, qualified] = ordinal + 1
        identity = self.prefix + f"{kind}\0{qualified}\0{ordinal}".encode("utf-8", "surrogateescape")
        return CodeNode(
            sha256(identity).hexdigest()[:16],
            kind,
            name,
            qualified,
            self.language,
            self.file_path,
            self._slice(start, end),
            docstring,
            first,
            last,
            start,
            end,
            sha256(self.source[start:end]).hexdigest(),
        )

    def _slice(self, start: int, end: int) -> str:
        return self.text[start:end] if self.ascii else self.source[start:end].decode("utf-8")


def _bare(name: str) -> str:
    """Strip pointers, references and type arguments from a type's name."""
    return name.lstrip("*&( ").split("<")[0].split("[")[0].strip(" )")

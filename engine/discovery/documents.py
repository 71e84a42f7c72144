"""Names and spans of Markdown sections and of TOML and YAML keys, where a grammar's nodes are not a reader's pieces."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from engine.discovery.shapes import Shape

if TYPE_CHECKING:
    from tree_sitter import Node

_PLAIN = re.compile(r"[A-Za-z0-9_-]+\Z")
_CLOSING = re.compile(r"(^|\s)#+\s*$")
_LEVELS = {"atx_h1_marker": 1, "atx_h2_marker": 2, "atx_h3_marker": 3, "atx_h4_marker": 4, "atx_h5_marker": 5,
    "atx_h6_marker": 6, "setext_h1_underline": 1, "setext_h2_underline": 2}  # fmt: skip


def markdown_shapes(matches: Iterable[tuple[int, dict[str, list[Node]]]], source: bytes) -> list[Shape]:
    """Return sections, each from its heading to the next one of the same or a higher level, and fenced code blocks.

    Headings and fences inside quotes and lists belong to those, except that a fence in a list is a code block too.

    Args:
        matches: The matches of the Markdown query.
        source: The file.
    """
    headings: dict[int, Node] = {}
    shapes: dict[int, Shape] = {}
    for _, captures in matches:
        for node in captures.get("heading", ()):
            headings.setdefault(node.start_byte, node)
        for node in captures.get("fence", ()):
            shapes[node.start_byte] = Shape("code_block", _fence_name(node), "", node)
    rows = source.count(b"\n")
    open_sections: list[tuple[int, Shape]] = []
    for start in sorted(headings):
        node, level = headings[start], _level(headings[start])
        while open_sections and open_sections[-1][0] >= level:
            section = open_sections.pop()[1]
            section.end, section.end_row = start, node.start_point.row
        shape = Shape("section", _heading_name(node), "", node)
        shape.end, shape.end_row = len(source), rows
        shapes[start] = shape
        open_sections.append((level, shape))
    return sorted(shapes.values(), key=lambda shape: (shape.start, -shape.end))


def _level(heading: Node) -> int:
    return next((_LEVELS[child.type] for child in heading.children if child.type in _LEVELS), 6)


def _heading_name(heading: Node) -> str:
    content = heading.child_by_field_name("heading_content")
    text = (content.text or b"").decode("utf-8", "replace") if content is not None else ""
    return " ".join(_CLOSING.sub("", text).split())


def _fence_name(fence: Node) -> str:
    info = next((child for child in fence.named_children if child.type == "info_string"), None)
    words = (info.text or b"").decode("utf-8", "replace").split() if info is not None else []
    return words[0] if words else "code"


def toml_names(key: Node) -> list[str]:
    """Return the parts of a bare, quoted or dotted key, without quotes."""
    if key.type == "dotted_key":
        return [part for child in key.named_children for part in toml_names(child)]
    return [_unquoted((key.text or b"").decode("utf-8", "replace"))]


def yaml_name(written: str) -> str:
    """Return a key without its quotes."""
    return _unquoted(written.strip())


def dotted(parts: Iterable[str]) -> str:
    """Join parts with dots; a part that is not plain is quoted."""
    return ".".join(part if _PLAIN.match(part) else json.dumps(part, ensure_ascii=False) for part in parts)


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "\"'":
        return text
    inner = text[1:-1]
    if text[0] == "'":
        return inner.replace("''", "'")
    if "\\" not in inner:
        return inner
    try:
        return str(ast.literal_eval(text))
    except (SyntaxError, ValueError, MemoryError):
        return inner

"""Documentation that belongs to a definition: Python docstrings, and comments directly above elsewhere."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tree_sitter import Node

_LINE_STYLE = {"go": "//", "rust": "///"}
_QUOTES = frozenset({'"', "'", '"""', "'''"})
_STAR = re.compile(r"^[ \t]*\*+(?!/)[ \t]?", re.MULTILINE)


def python_docstring(block: Node | None) -> str | None:
    """Return the value of the string that a block or module begins with, as Python would.

    Args:
        block: The node that holds the statements.
    """
    if block is None:
        return None
    for statement in block.named_children[:64] if block.type == "module" else _head(block):
        if statement.type == "comment":
            continue
        if statement.type != "expression_statement" or statement.named_child_count != 1:
            return None
        return _string_value(statement.named_child(0))
    return None


def _head(block: Node) -> list[Node]:
    """Return the first statement without listing the others; comments may stand before it."""
    if not block.named_child_count:
        return []
    first = block.named_child(0)
    return block.named_children if first.type == "comment" else [first]


def _string_value(string: Node) -> str | None:
    if string.type not in ("string", "concatenated_string"):
        return None
    text = (string.text or b"").decode("utf-8", "replace")
    if string.type == "string" and "\\" not in text and "\r" not in text:
        quote = text[:3] if text[:3] in _QUOTES else text[:1]
        if quote in _QUOTES and text.endswith(quote) and (len(quote) == 3 or text.count(quote) == 2):
            return text[len(quote) : -len(quote)] if len(text) >= 2 * len(quote) else None
    import ast

    try:
        value = ast.literal_eval(text if string.type == "string" else f"({text})")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def comment_above(source: bytes, start: int, comments: list[tuple[int, int]], language: str) -> str | None:
    """Return the text of the documentation comment that ends directly above a position.

    Args:
        source: The file.
        start: First byte of the definition, attributes included.
        comments: Byte ranges of all comments, sorted.
        language: `go` takes `//` lines, `rust` `///` lines and `/** */`, the others `/** */`.
    """
    position = bisect_right(comments, (start, 0)) - 1
    lines: list[str] = []
    marker = _LINE_STYLE.get(language)
    while position >= 0 and _adjoins(source, comments[position], start):
        text = source[slice(*comments[position])].decode("utf-8", "replace").strip()
        if text.startswith("/*"):
            return _block(text) if not lines and (text.startswith("/**") or language == "go") else _joined(lines)
        if not _is_doc_line(text, marker):
            break
        lines.insert(0, text[len(marker or "") :].removeprefix(" ").rstrip())
        start, position = comments[position][0], position - 1
    return _joined(lines)


def _adjoins(source: bytes, comment: tuple[int, int], start: int) -> bool:
    """Tell whether a comment ends on the line before `start` (or on its own) and has its lines for itself."""
    begin, end = comment
    gap = source[end:start]
    if source[end - 1 : end] == b"\n":
        gap = b"\n" + gap
    if gap.strip() or gap.count(b"\n") > 1:
        return False
    return not source[source.rfind(b"\n", 0, begin) + 1 : begin].strip()


def _is_doc_line(text: str, marker: str | None) -> bool:
    if marker is None or not text.startswith(marker):
        return False
    return not text.startswith(("////", "//go:", "//nolint"))


def _block(text: str) -> str | None:
    inner = text[2:-2] if text.endswith("*/") and len(text) >= 4 else text[2:]
    lines = _STAR.sub("", inner.removeprefix("*")).replace("\r", "").split("\n")
    return _joined([line.rstrip() if index else line.strip() for index, line in enumerate(lines)])


def _joined(lines: list[str]) -> str | None:
    return "\n".join(lines).strip("\n ") or None

"""The text of a script: character columns, and blanking that keeps every line and column where it was."""

from __future__ import annotations

import ast
from typing import Any

from engine.diagnostics import Span


class Source:
    """The text of a script with normal line ends; `lines` has no line ends."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
        self.lines = self.text.split("\n")

    def column(self, line: int, offset: int) -> int:
        """Return the 0-based character column of a UTF-8 byte offset, as `ast` counts them, in a 1-based line."""
        text = self.lines[line - 1] if line <= len(self.lines) else ""
        return offset if text.isascii() else len(text.encode("utf-8", "replace")[:offset].decode("utf-8", "ignore"))

    def span(self, node: Any) -> Span:
        """Return where a node is."""
        column = self.column(node.lineno, node.col_offset) + 1
        return Span(
            self.file, node.lineno, column, node.end_lineno, self.column(node.end_lineno, node.end_col_offset) + 1
        )

    def name_span(self, node: Any, name: str) -> Span:
        """Return where the name of a function definition stands."""
        line = self.lines[node.lineno - 1]
        define = line.find("def ", self.column(node.lineno, node.col_offset))
        at = line.find(name, define + 4)
        column = max(at, 0) + 1
        return Span(self.file, node.lineno, column, node.lineno, column + (len(name) if at >= 0 else 0))

    def blanked(self, statements: list[ast.stmt]) -> str:
        """Return the text with these top-level statements replaced by spaces; line ends stay."""
        lines = list(self.lines)
        for node in statements:
            first, start = node.lineno, self.column(node.lineno, node.col_offset)
            for decorator in getattr(node, "decorator_list", []):
                first, start = min(first, decorator.lineno), 0
            last = node.end_lineno or first
            end = self.column(last, node.end_col_offset or 0)
            for line in range(first, last + 1):
                text = lines[line - 1]
                left, right = (start if line == first else 0), (end if line == last else len(text))
                lines[line - 1] = text[:left] + _filler(text, right, right - left, line == last) + text[right:]
        return "\n".join(lines)


def _filler(text: str, right: int, width: int, last: bool) -> str:
    """Return spaces, or a statement that does nothing where another follows on the same line."""
    follows = last and text[right:].lstrip().startswith(";")
    return "0".ljust(width) if follows else " " * width


def leading_comment(source: Source) -> tuple[str, int]:
    """Return the text of the comment block at the top of a script, and the number of lines that it takes."""
    words, count = [], 0
    for line in source.lines:
        if not line.startswith("#"):
            break
        count += 1
        if not (line.startswith("#!") or "coding" in line):
            words.append(line.lstrip("#").strip())
    return " ".join(word for word in words if word), count


def comment_of(source: Source, node: ast.stmt, after: int) -> str:
    """Return the comment behind a statement or, failing that, directly above it.

    Args:
        source: The script.
        node: The statement.
        after: Lines up to this one belong to something else.
    """
    end = node.end_lineno or node.lineno
    tail = source.lines[end - 1][source.column(end, node.end_col_offset or 0) :].strip()
    if tail.startswith("#"):
        return _comment_text(tail)
    above = []
    line = node.lineno - 1
    while line > after and source.lines[line - 1].startswith("#"):
        above.append(_comment_text(source.lines[line - 1]))
        line -= 1
    text = " ".join(reversed(above))
    # A heading such as "# Inputs" or "# --- options ---" describes a group, not the first input under it.
    return text if len(text.split()) > 2 and "--" not in text and "==" not in text else ""


def _comment_text(comment: str) -> str:
    text = comment.lstrip("#").strip()
    return "" if text.startswith(("noqa", "type:", "pragma", "ruff:")) else text

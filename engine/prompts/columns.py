"""Finds the column of a name in a template: Jinja's tree knows lines only."""

from __future__ import annotations

import re

_TAGS = re.compile(r"\{%-?\s*raw\s*-?%\}.*?\{%-?\s*endraw\s*-?%\}|\{#.*?#\}|\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_ALONE = r"(?<![\w.|])"
_NOT_NEWLINE = re.compile(r"[^\n]")


def mask(source: str, *, whole: bool = False) -> list[str]:
    """Return the lines of a template with everything outside of its tags, and all string literals, blanked.

    Args:
        source: The template, or an expression.
        whole: True for an expression, which has no tags.
    """
    if whole:
        return _blank_texts(source).split("\n")
    parts, at = [], 0
    for match in _TAGS.finditer(source):
        parts.append(_blank(source[at : match.start()]))
        inside = match.group()
        outside = inside.startswith("{#") or "raw" in inside[:12].replace("-", " ").split()
        parts.append(_blank(inside) if outside else _blank_texts(inside))
        at = match.end()
    parts.append(_blank(source[at:]))
    return "".join(parts).split("\n")


def _blank(text: str) -> str:
    return _NOT_NEWLINE.sub(" ", text)


def _blank_texts(text: str) -> str:
    return _TEXT.sub(lambda match: _blank(match.group()), text)


class Columns:
    """The columns of names in one template."""

    def __init__(self, source: str, *, whole: bool = False) -> None:
        self._source = source
        self._whole = whole
        self._lines: list[str] | None = None

    def find(self, line: int, name: str, before: str, nth: int) -> int:
        """Return the 1-based column of a name on a line, 1 when it is not there.

        Args:
            line: 1-based.
            name: The identifier.
            before: What must stand in front of it, a regular expression; empty for nothing that makes it an attribute.
            nth: Which of its places on the line, from 0.
        """
        if self._lines is None:
            self._lines = mask(self._source, whole=self._whole)
        text = self._lines[line - 1] if line <= len(self._lines) else ""
        pattern = rf"{before or _ALONE}(?P<name>{re.escape(name)})(?!\w)"
        found = [match.start("name") for match in re.finditer(pattern, text)]
        return found[min(nth, len(found) - 1)] + 1 if found else 1

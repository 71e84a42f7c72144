"""The `full` format: each finding with an excerpt of its source and carets below the place."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine.diagnostics.core import Diagnostic, Span

_CONTEXT = 1
_MAX_WIDTH = 160
_MAX_FILE = 4 * 1024 * 1024
_STYLES = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "bold": "\x1b[1m", "gutter": "\x1b[1;34m", "off": "\x1b[0m"}


def full_text(diagnostics: Sequence[Diagnostic], *, color: bool, sources: Mapping[str, str]) -> str:
    """Return all findings with excerpts, an empty line after each."""
    styles = _STYLES if color else dict.fromkeys(_STYLES, "")
    cache: dict[str, list[str]] = {}
    blocks = []
    for item in diagnostics:
        lines = cache.get(item.span.file)
        if lines is None:
            lines = cache[item.span.file] = _lines(item.span.file, sources)
        blocks.append(_block(item, lines, styles))
    return "".join(blocks)


def printable(text: str) -> str:
    """Return the text on one line, with control characters spelled out: names come from untrusted files."""
    return "".join(_spell(character) for character in text)


def _spell(character: str) -> str:
    if character == "\t" or character.isprintable():
        return character
    return {"\n": "\\n", "\r": "\\r"}.get(character) or character.encode("unicode_escape").decode("ascii")


def _lines(file: str, sources: Mapping[str, str]) -> list[str]:
    text = sources.get(file)
    if text is None:
        try:
            with Path(file).open("rb") as handle:
                text = handle.read(_MAX_FILE).decode("utf-8-sig", "replace")
        except (OSError, ValueError):
            return []
    return re.split(r"\r\n|\n|\r", text)


def _block(item: Diagnostic, lines: list[str], styles: Mapping[str, str]) -> str:
    span, off = item.span, styles["off"]
    width = len(str(span.line + _CONTEXT))
    gutter = f"{' ' * width} {styles['gutter']}|{off}"
    out = [f"{styles[item.severity]}{item.severity}[{item.code}]{off}: {styles['bold']}{printable(item.message)}{off}"]
    out.append(f"{' ' * width}{styles['gutter']}-->{off} {printable(span.file)}:{span.line}:{span.column}")
    if 0 < span.line <= len(lines):
        out.append(gutter)
        first, last = max(1, span.line - _CONTEXT), min(len(lines), span.line + _CONTEXT)
        for number in range(first, last + 1):
            if number != span.line and not lines[number - 1].strip():
                continue
            shown, offset = _window(lines[number - 1], span.column if number == span.line else 1)
            out.append(f"{styles['gutter']}{number:>{width}} |{off} {shown}".rstrip())
            if number == span.line:
                out.append(f"{gutter} {styles[item.severity]}{_carets(lines[number - 1], span, offset)}{off}")
        out.append(gutter)
    advice = item.help or f"engine explain {item.code}"
    out.append(f"{' ' * width} {styles['gutter']}={off} {styles['bold']}help{off}: {printable(advice)}")
    if item.fix is not None:
        out.append(f"{' ' * width} {styles['gutter']}={off} {styles['bold']}fix{off}: engine validate --fix does it")
    return "\n".join(out) + "\n\n"


def _window(line: str, column: int) -> tuple[str, int]:
    """Return what is shown of a line, and how many characters are cut off at its front."""
    offset = max(0, column - _MAX_WIDTH // 2) if len(line) > _MAX_WIDTH else 0
    shown = line[offset : offset + _MAX_WIDTH]
    return printable(shown.replace("\t", "    ")), offset


def _carets(line: str, span: Span, offset: int) -> str:
    start = min(span.column - 1, len(line))
    end = span.end_column - 1 if span.end_line == span.line else len(line)
    end = min(max(end, start), len(line), offset + _MAX_WIDTH)
    return " " * _width(line[offset:start]) + "^" * max(1, _width(line[start:end]))


def _width(text: str) -> int:
    """Columns that the text takes on a terminal."""
    return sum(_cells(character) for character in text)


def _cells(character: str) -> int:
    if character == "\t":
        return 4
    if unicodedata.combining(character):
        return 0
    if not character.isprintable():
        return len(_spell(character))
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

"""Renders findings: `full` and `concise` for people, the others for machines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.diagnostics.core import Diagnostic, Span
from engine.diagnostics.excerpt import full_text, printable
from engine.diagnostics.sarif import sarif_log


def render(
    diagnostics: Sequence[Diagnostic],
    format: str,  # noqa: A002 - the word that the command line uses
    *,
    color: bool = False,
    sources: Mapping[str, str] | None = None,
) -> str:
    """Return the findings as text that ends with a newline; empty for no findings in the formats for people.

    Args:
        diagnostics: The findings, in the order in which they shall appear.
        format: One of `engine.diagnostics.FORMATS`.
        color: Whether `full` and `concise` use ANSI colours.
        sources: Texts by file, for excerpts; files that are not in it are read from the disk.
    """
    return _RENDERERS[format](diagnostics, color, sources or {})


def _full(diagnostics: Sequence[Diagnostic], color: bool, sources: Mapping[str, str]) -> str:
    return full_text(diagnostics, color=color, sources=sources)


def _concise(diagnostics: Sequence[Diagnostic], color: bool, sources: Mapping[str, str]) -> str:  # noqa: ARG001 - one signature
    bold, red, reset = ("\x1b[1m", "\x1b[1;31m", "\x1b[0m") if color else ("", "", "")
    return "".join(
        f"{bold}{place(item.span)}{reset}: {red}{item.code}{reset} {printable(item.message)}\n" for item in diagnostics
    )


def place(span: Span) -> str:
    """Return `file:line:column`."""
    return f"{printable(span.file)}:{span.line}:{span.column}"


def _json(diagnostics: Sequence[Diagnostic], color: bool, sources: Mapping[str, str]) -> str:  # noqa: ARG001 - one signature
    return json.dumps([as_json(item) for item in diagnostics], indent=2) + "\n"


def as_json(item: Diagnostic) -> dict[str, Any]:
    """Return one finding as the object of the `json` format."""
    fix = None
    if item.fix is not None:
        fix = {"location": _start(item.fix.span), "end_location": _end(item.fix.span), "content": item.fix.text}
    return {
        "code": item.code,
        "severity": item.severity,
        "message": item.message,
        "file": item.span.file,
        "location": _start(item.span),
        "end_location": _end(item.span),
        "help": item.help,
        "url": None,
        "fix": fix,
    }


def _start(span: Span) -> dict[str, int]:
    return {"line": span.line, "column": span.column}


def _end(span: Span) -> dict[str, int]:
    return {"line": span.end_line, "column": span.end_column}


def _github(diagnostics: Sequence[Diagnostic], color: bool, sources: Mapping[str, str]) -> str:  # noqa: ARG001 - one signature
    return "".join(_github_line(item) for item in diagnostics)


def _github_line(item: Diagnostic) -> str:
    """One workflow command; https://docs.github.com/actions gives the escapes of data and of properties."""
    span = item.span
    properties = {
        "file": span.file,
        "line": span.line,
        "endLine": span.end_line,
        "col": span.column,
        "endColumn": span.end_column,
        "title": f"engine ({item.code})",
    }
    listed = ",".join(f"{key}={_escape(str(value), ':,')}" for key, value in properties.items())
    return (
        f"::{item.severity} {listed}::{_escape(f'{span.file}:{span.line}:{span.column}: {item.code} {item.message}')}\n"
    )


def _escape(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


# Imported where they are used: they bring an XML library, which every `engine validate` would wait for.


def _gitlab(diagnostics: Sequence[Diagnostic], color: bool, sources: Mapping[str, str]) -> str:  # noqa: ARG001 - one signature
    from engine.diagnostics.ci_formats import gitlab_text

    return gitlab_text(diagnostics)


def _junit(diagnostics: Sequence[Diagnostic], color: bool, sources: Mapping[str, str]) -> str:  # noqa: ARG001 - one signature
    from engine.diagnostics.ci_formats import junit_text

    return junit_text(diagnostics)


def _sarif(diagnostics: Sequence[Diagnostic], color: bool, sources: Mapping[str, str]) -> str:  # noqa: ARG001 - one signature
    return json.dumps(sarif_log(diagnostics), indent=2) + "\n"


_RENDERERS: dict[str, Callable[[Sequence[Diagnostic], bool, Mapping[str, str]], str]] = {
    "full": _full,
    "concise": _concise,
    "json": _json,
    "github": _github,
    "gitlab": _gitlab,
    "sarif": _sarif,
    "junit": _junit,
}

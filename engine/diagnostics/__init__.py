"""Diagnostics: findings as values, collected by all passes and rendered at the border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.diagnostics.codes import CODES, Code
from engine.diagnostics.core import Diagnostic, Edit, Severity, Span, did_you_mean

__all__ = ["CODES", "FORMATS", "Code", "Diagnostic", "Edit", "Severity", "Span", "did_you_mean", "page", "render"]

FORMATS = ("full", "concise", "json", "github", "sarif")


def page(code: str) -> str:
    """Return the docs page of a code, as Markdown.

    Raises:
        KeyError: There is no such code.
    """
    from engine.diagnostics.explain import page as read

    return read(code)


def render(
    diagnostics: Sequence[Diagnostic],
    format: str,  # noqa: A002 - the word that the command line uses
    *,
    color: bool = False,
    sources: Mapping[str, str] | None = None,
) -> str:
    """Return the findings as text; `engine.diagnostics.render` says more.

    Args:
        diagnostics: The findings, in the order in which they shall appear.
        format: One of `FORMATS`.
        color: Whether the formats for people use ANSI colours.
        sources: Texts by file, for excerpts; files that are not in it are read from the disk.
    """
    from engine.diagnostics.renderers import render as run

    return run(diagnostics, format, color=color, sources=sources)

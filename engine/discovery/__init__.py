"""Discovery: tree-sitter finds the code nodes of a source tree, each exactly once and with a stable id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.discovery.languages import custom_query, language_of
    from engine.discovery.model import CodeNode, Discovery, Note
    from engine.discovery.nodes import parse_file
    from engine.discovery.scan import discover, discover_async
    from engine.discovery.syntax import error_count, has_syntax_error

# Loaded on first use: a worker process needs none of them, and waits for each module that it imports.

__all__ = [
    "CodeNode",
    "Discovery",
    "Note",
    "custom_query",
    "discover",
    "discover_async",
    "error_count",
    "has_syntax_error",
    "language_of",
    "parse_file",
]

__getattr__ = lazy(
    __name__,
    {
        "languages": ("custom_query", "language_of"),
        "model": ("CodeNode", "Discovery", "Note"),
        "nodes": ("parse_file",),
        "scan": ("discover", "discover_async"),
        "syntax": ("error_count", "has_syntax_error"),
    },
)

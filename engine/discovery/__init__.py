"""Discovery: tree-sitter finds the code nodes of a source tree, each exactly once and with a stable id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.discovery.languages import custom_query, language_of
    from engine.discovery.model import CodeNode, Discovery, Note
    from engine.discovery.nodes import parse_file
    from engine.discovery.scan import discover, discover_async
    from engine.discovery.syntax import error_count, has_syntax_error

# Loaded on first use: a worker process needs none of them, and waits for each module that it imports.
_HOMES = {
    "CodeNode": "model",
    "Discovery": "model",
    "Note": "model",
    "custom_query": "languages",
    "discover": "scan",
    "discover_async": "scan",
    "error_count": "syntax",
    "has_syntax_error": "syntax",
    "language_of": "languages",
    "parse_file": "nodes",
}

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


def __getattr__(name: str) -> Any:
    """Import a public name on its first use."""
    import importlib

    if name not in _HOMES:
        raise AttributeError(f"module 'engine.discovery' has no attribute {name!r}")
    return getattr(importlib.import_module(f"engine.discovery.{_HOMES[name]}"), name)

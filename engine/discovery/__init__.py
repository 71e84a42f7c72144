"""Discovery: tree-sitter finds the code nodes of a source tree, each exactly once and with a stable id."""

from engine.discovery.languages import custom_query, language_of
from engine.discovery.model import CodeNode, Discovery, Note
from engine.discovery.parse import parse_file
from engine.discovery.scan import discover, discover_async
from engine.discovery.syntax import error_count, has_syntax_error

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

"""Does a file parse? Counts errors, so that a check can tell new ones from old ones."""

from __future__ import annotations

import ast
import threading
import warnings

from engine.discovery.languages import grammar, new_parser

_filters = threading.Lock()  # warning filters are one list for all threads


def error_count(source: bytes, language: str) -> int:
    """Count the syntax errors of a file; none in Python that Python's own parser accepts, else that is one more.

    A change breaks a file when the count is greater after it than before.
    """
    if language == "python" and _python_accepts(source):
        return 0
    from tree_sitter import Query, QueryCursor

    root = new_parser(language).parse(source).root_node
    count = 0
    if root.has_error:
        query = Query(grammar(language), "(ERROR) @error (MISSING) @error")
        count = max(1, len(QueryCursor(query).captures(root).get("error", ())))
    return count + (language == "python")


def has_syntax_error(source: bytes, language: str) -> bool:
    """Tell whether a file has a syntax error."""
    return error_count(source, language) > 0


def _python_accepts(source: bytes) -> bool:
    with _filters, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(source)
        except (SyntaxError, ValueError, MemoryError, RecursionError):
            return False
    return True

"""Bare tree-sitter: read, parse, run the query. As a program it takes paths on stdin and prints the megabytes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any


@cache
def tools() -> tuple[Any, Any]:
    """Return a parser and the query with which the engine finds Python nodes."""
    import tree_sitter_python
    from tree_sitter import Language, Parser, Query

    import engine

    language = Language(tree_sitter_python.language())
    query = Path(engine.__file__).parent / "discovery" / "queries" / "python.scm"
    return Parser(language), Query(language, query.read_text("utf-8"))


def scan(paths: Iterable[str]) -> float:
    """Parse the files and collect the captures; returns the megabytes read."""
    from tree_sitter import QueryCursor

    parser, query = tools()
    total = 0
    for path in paths:
        data = Path(path).read_bytes()
        QueryCursor(query).captures(parser.parse(data).root_node)
        total += len(data)
    return total / 1e6


if __name__ == "__main__":
    print(scan(sys.stdin.read().split("\n")))

"""From rows to CodeNodes: the worker processes send rows and each file's bytes once, the texts are cut here."""

from __future__ import annotations

from collections.abc import Iterable

from engine.discovery.model import CodeNode
from engine.discovery.parse import Row, parse_rows


def parse_file(source: bytes, file_path: str, language: str, query: str | None = None) -> list[CodeNode]:
    """Return the nodes of a file in the order of their positions, the file itself first.

    Definitions that hold a syntax error are left out; what stands around them is found. A file that is not UTF-8 has
    no nodes.

    Args:
        source: The file's bytes.
        file_path: Posix path relative to the project's root; part of the ids.
        language: A name of the language table.
        query: A tree-sitter query; the result is then only what it marks, with the same ids as without a query where
            both find the same piece.

    Raises:
        BundleError: The query is not valid for the language.
    """
    try:
        source.decode("utf-8")
    except UnicodeDecodeError:
        return []
    rows, _ = parse_rows(source, file_path, language, query)
    return make_nodes(source, file_path, language, rows)


def make_nodes(source: bytes, file_path: str, language: str, rows: Iterable[Row]) -> list[CodeNode]:
    """Cut each row's text out of its file's bytes, which are UTF-8."""
    text = source.decode("utf-8")
    plain = len(text) == len(source)
    return [
        CodeNode(
            node_id,
            kind,
            name,
            qualified_name,
            language,
            file_path,
            text[start:end] if plain else source[start:end].decode("utf-8"),
            docstring,
            first_line,
            last_line,
            start,
            end,
        )
        for node_id, kind, name, qualified_name, docstring, first_line, last_line, start, end in rows
    ]

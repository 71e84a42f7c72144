"""Which language a file is in, and its grammar and queries, each loaded once."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from engine.errors import BundleError
from engine.manifest.languages import LANGUAGES

if TYPE_CHECKING:
    from tree_sitter import Language, Parser, Query

_EXTENSIONS = {
    "python": (".py", ".pyi", ".pyw"),
    "javascript": (".js", ".jsx", ".mjs", ".cjs"),
    "typescript": (".ts", ".mts", ".cts"),
    "tsx": (".tsx",),
    "go": (".go",),
    "rust": (".rs",),
    "java": (".java",),
    "markdown": (".md", ".markdown", ".mdown"),
    "toml": (".toml",),
    "yaml": (".yaml", ".yml"),
}
_BY_EXTENSION = {extension: language for language, known in _EXTENSIONS.items() for extension in known}
_QUERY_OF = {"tsx": "typescript"}


def language_of(path: str) -> str | None:
    """Return the language that a file's extension stands for."""
    name = path.rpartition("/")[2]
    stem, dot, extension = name.rpartition(".")
    return _BY_EXTENSION.get(dot + extension.lower()) if stem else None


def extension_of(language: str) -> str:
    """Return the extension that files of a language have most often, with its dot."""
    return _EXTENSIONS[language][0]


@cache
def grammar(language: str) -> Language:
    """Load the grammar; the wheel is imported on the first use."""
    loaded: Language = LANGUAGES[language].load()
    return loaded


@cache
def parser(language: str) -> Parser:
    """Return the shared parser; callers in other threads make their own with `new_parser`."""
    return new_parser(language)


def new_parser(language: str) -> Parser:
    """Make a parser."""
    from tree_sitter import Parser

    return Parser(grammar(language))


@cache
def own_query(language: str) -> Query:
    """Return the compiled query of discovery's own node types."""
    from tree_sitter import Query

    folder = os.path.dirname(__file__)  # noqa: PTH120 - a worker process would wait for pathlib
    path = f"{folder}/queries/{_QUERY_OF.get(language, language)}.scm"
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        return Query(grammar(language), file.read())


@lru_cache(maxsize=256)
def custom_query(language: str, text: str) -> Query:
    """Compile a bundle's query.

    Raises:
        BundleError: It is no query of this language, or captures neither `@node` nor `@TYPE.def`.
    """
    from tree_sitter import Query, QueryError

    try:
        query = Query(grammar(language), text)
    except (QueryError, ValueError) as error:
        raise BundleError(f"the query is not valid for {language}: {error}") from error
    names = [query.capture_name(index) for index in range(query.capture_count)]
    if not any(name == "node" or name.endswith(".def") for name in names):
        raise BundleError("the query captures nothing: mark what it is to find with @node or @TYPE.def")
    return query

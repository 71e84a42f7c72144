"""Languages and the node types that bundles may ask for: one plain table, read by validation and by discovery."""

from __future__ import annotations

from typing import Any, NamedTuple


class LanguageSpec(NamedTuple):
    """One language of the table.

    Attributes:
        name: Its name in manifests.
        node_types: The node types that discovery finds in it, `file` always among them.
        grammar: The grammar wheel's module and the function in it that returns the language.
    """

    name: str
    node_types: tuple[str, ...]
    grammar: tuple[str, str]

    def load(self) -> Any:
        """Return the `tree_sitter.Language`; the grammar wheel is imported on the first use."""
        import importlib

        from tree_sitter import Language

        module, function = self.grammar
        return Language(getattr(importlib.import_module(module), function)())


_CODE = ("file", "class", "function", "method")

LANGUAGES: dict[str, LanguageSpec] = {
    spec.name: spec
    for spec in (
        LanguageSpec("go", _CODE, ("tree_sitter_go", "language")),
        LanguageSpec("java", _CODE, ("tree_sitter_java", "language")),
        LanguageSpec("javascript", _CODE, ("tree_sitter_javascript", "language")),
        LanguageSpec("markdown", ("file", "section", "code_block"), ("tree_sitter_markdown", "language")),
        LanguageSpec("python", _CODE, ("tree_sitter_python", "language")),
        LanguageSpec("rust", _CODE, ("tree_sitter_rust", "language")),
        LanguageSpec("toml", ("file", "table", "table_array"), ("tree_sitter_toml", "language")),
        LanguageSpec("tsx", _CODE, ("tree_sitter_typescript", "language_tsx")),
        LanguageSpec("typescript", _CODE, ("tree_sitter_typescript", "language_typescript")),
        LanguageSpec("yaml", ("file", "key"), ("tree_sitter_yaml", "language")),
    )
}


def node_types(languages: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the node types of the named languages (of all when none is named), in a stable order."""
    specs = [LANGUAGES[name] for name in languages if name in LANGUAGES] if languages else list(LANGUAGES.values())
    return tuple(dict.fromkeys(kind for spec in specs for kind in spec.node_types))

"""What a new bundle needs to know of a language: its files, its comments, and the sample to try the bundle on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

_CODE = {"function": "area", "method": "Account.withdraw", "class": "Account", "file": None}


class Speech(NamedTuple):
    """One language.

    Attributes:
        extension: Of the sample's file.
        globs: The language's files.
        begin: What a comment begins with.
        nodes: A node of the sample for each node type, by qualified name; None where the type has only one there.
        types: The node types that a bundle takes by default.
        end: What a comment ends with.
    """

    extension: str
    globs: tuple[str, ...]
    begin: str = "// "
    nodes: Mapping[str, str | None] = _CODE
    types: tuple[str, ...] = ("function", "method")
    end: str = ""


_GO = {"function": "Area", "method": "Account.Withdraw", "class": "Account", "file": None}
_JAVA = {"method": "Account.withdraw", "class": "Account", "file": None}
_MARKDOWN = {"section": "Account/Withdrawing", "code_block": "Account/Withdrawing/python", "file": None}
_TSX = {**_CODE, "function": "Area"}
_TOML = {"table": "account", "table_array": "limits", "file": None}

SPEECH: dict[str, Speech] = {
    "python": Speech(".py", ("**/*.py",), "# "),
    "javascript": Speech(".js", ("**/*.js", "**/*.jsx", "**/*.mjs", "**/*.cjs")),
    "typescript": Speech(".ts", ("**/*.ts", "**/*.mts", "**/*.cts")),
    "tsx": Speech(".tsx", ("**/*.tsx",), nodes=_TSX),
    "go": Speech(".go", ("**/*.go",), nodes=_GO),
    "java": Speech(".java", ("**/*.java",), nodes=_JAVA, types=("method",)),
    "rust": Speech(".rs", ("**/*.rs",)),
    "markdown": Speech(".md", ("**/*.md",), "<!-- ", _MARKDOWN, ("section",), " -->"),
    "toml": Speech(".toml", ("**/*.toml",), "# ", _TOML, ("table",)),
    # Not .yaml: the sample lies beside the cases, which are *.yaml.
    "yaml": Speech(".yml", ("**/*.yaml", "**/*.yml"), "# ", {"key": "account", "file": None}, ("key",)),
}

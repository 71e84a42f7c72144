"""The externals that the engine provides, and the check of what scripts declare against them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from engine.diagnostics import Diagnostic, did_you_mean
from engine.tools.script import Script, ScriptExternal

Permission = Literal["read", "write", "run", "ask", "memory"]


@dataclass(frozen=True, slots=True)
class External:
    """A host function that scripts may declare.

    Attributes:
        name: The function.
        signature: Its declaration as an author may copy it.
        permission: What the bundle's permissions must allow; None for nothing.
        available: False for those that this version does not have yet.
        parameters: Names of its parameters, in order.
        required: Names of those without a default.
    """

    name: str
    signature: str
    permission: Permission | None
    available: bool
    parameters: tuple[str, ...]
    required: tuple[str, ...]


_ROWS: tuple[tuple[str, Permission | None, bool], ...] = (
    ("read_file(path: str) -> str", "read", True),
    ("write_file(path: str, content: str) -> bool", "write", True),
    ("delete_file(path: str) -> bool", "write", True),
    ("file_exists(path: str) -> bool", "read", True),
    ("list_dir(path: str) -> list[str]", "read", True),
    ('search(pattern: str, glob: str = "**/*") -> list[dict[str, Any]]', "read", True),
    ("get_node_source() -> str", "read", True),
    ("get_node_metadata() -> dict[str, Any]", "read", True),
    ("replace_node(text: str) -> bool", "write", True),
    ("run_command(cmd: str, args: list[str]) -> dict[str, Any]", "run", True),
    ("run_json_command(cmd: str, args: list[str]) -> Any", "run", True),
    ("submit_result(summary: str, changed_files: list[str]) -> bool", None, True),
    ("ask_user(question: str, options: list[str] | None = None, timeout_s: int = 300) -> str", "ask", False),
    ("request_human_input(question: str, options: list[str] | None = None, timeout_s: int = 300) -> str", "ask", False),
    ("memory_get(key: str, default: Any = None) -> Any", "memory", False),
    ("memory_set(key: str, value: Any) -> bool", "memory", False),
)


def _external(declaration: str, permission: Permission | None, available: bool) -> External:
    signature = f"async def {declaration}: ..."
    node = ast.parse(signature).body[0]
    assert isinstance(node, ast.AsyncFunctionDef)  # noqa: S101 - the table above is ours
    names = tuple(item.arg for item in node.args.args)
    required = names[: len(names) - len(node.args.defaults)]
    return External(node.name, signature, permission, available, names, required)


EXTERNALS: Mapping[str, External] = MappingProxyType({item.name: item for item in (_external(*row) for row in _ROWS)})
"""Every external by name."""


def check_externals(script: Script) -> list[Diagnostic]:
    """Return T007 for externals that do not exist or are not available yet, T005 for other parameters than theirs."""
    found = [_check(item) for item in script.externals]
    return [item for item in found if item is not None]


def _check(declared: ScriptExternal) -> Diagnostic | None:
    known = EXTERNALS.get(declared.name)
    if known is None:
        hint = did_you_mean(declared.name, EXTERNALS)
        message = f"the engine provides no external '{declared.name}'" + (f"; {hint}" if hint else "")
        return Diagnostic("T007", message, declared.span, f"It provides {', '.join(EXTERNALS)}.")
    if not known.available:
        message = f"the external '{declared.name}' is not available in this version"
        return Diagnostic("T007", message, declared.span, "Remove it, or wait for a version that has it.")
    names = declared.parameters
    order = [name for name in known.parameters if name in names]
    if list(names) == order and set(known.required) <= set(names):
        return None
    message = f"the external '{declared.name}' takes ({', '.join(known.parameters)}), not ({', '.join(names)})"
    return Diagnostic("T005", message, declared.span, f"Declare it as: {known.signature}")

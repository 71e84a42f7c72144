"""What a script says, read from its syntax alone: scripts that have findings are read too."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

_COMMANDS = ("run_command", "run_json_command")


@dataclass(slots=True)
class Declared:
    """The declarations of a script.

    Attributes:
        inputs: For each variable the name that the input was given.
        externals: Names of the functions that the engine is to provide.
        commands: Command prefixes that are called with literal words.
        open_commands: Lines of calls whose command is not a literal.
    """

    inputs: dict[str, str] = field(default_factory=dict)
    externals: list[str] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)
    open_commands: list[int] = field(default_factory=list)


def declared(text: str) -> Declared:
    """Return the declarations of a script; empty for one that is not Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the script's own text
            tree = ast.parse(text)
            nodes = list(ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Declared()
    found = Declared()
    for statement in tree.body:
        if isinstance(statement, (ast.AnnAssign, ast.Assign)):
            found.inputs.update(_inputs(statement))
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)) and _is_external(statement):
            found.externals.append(statement.name)
    lists = _lists(nodes)
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _COMMANDS:
            argv = _argv(node, lists)
            if argv is None:
                found.open_commands.append(node.lineno)
            elif argv not in found.commands:
                found.commands.append(argv)
    return found


def _inputs(node: ast.AnnAssign | ast.Assign) -> Iterator[tuple[str, str]]:
    call = node.value
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "Input"):
        return
    target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
    if isinstance(target, ast.Name):
        first = call.args[0] if call.args else None
        name = first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else target.id
        yield target.id, name


def _is_external(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    return any(isinstance(item, ast.Name) and item.id == "external" for item in node.decorator_list)


def _lists(nodes: list[ast.AST]) -> dict[str, ast.expr]:
    """Lists that are assigned to a name, each name once."""
    found: dict[str, ast.expr] = {}
    twice: set[str] = set()
    for node in nodes:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        value = getattr(node, "value", None)
        if isinstance(target, ast.Name) and isinstance(value, (ast.List, ast.BinOp)):
            twice |= {target.id} & set(found)
            found[target.id] = value
    return {name: value for name, value in found.items() if name not in twice}


def _argv(call: ast.Call, lists: dict[str, ast.expr]) -> tuple[str, ...] | None:
    """The program and the words behind it that are no options; None for a program that is not a literal."""
    named = {item.arg: item.value for item in call.keywords}
    program = call.args[0] if call.args else named.get("cmd")
    words = call.args[1] if len(call.args) > 1 else named.get("args")
    if not (isinstance(program, ast.Constant) and isinstance(program.value, str) and program.value.strip()):
        return None
    if isinstance(words, ast.Name):
        words = lists.get(words.id)
    while isinstance(words, ast.BinOp):
        words = words.left
    argv = [program.value]
    for item in words.elts if isinstance(words, ast.List) else ():
        if not (isinstance(item, ast.Constant) and isinstance(item.value, str)):
            break
        if item.value.startswith("-") and item.value != "-m":
            break
        argv.append(item.value)
    python = PurePosixPath(argv[0]).name.startswith("python")
    return tuple(argv[:3] if python and argv[1:2] == ["-m"] else argv[:2])

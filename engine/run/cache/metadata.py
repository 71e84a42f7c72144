"""Which facts about its node a script can learn from `get_node_metadata`, told from its source."""

from __future__ import annotations

import ast
from collections.abc import Iterator

NAME = "get_node_metadata"


def metadata_keys(source: str) -> frozenset[str] | None:
    """Return the keys that a script reads of the node's metadata; None where it may read any.

    The value is followed through names and the parameters of the script's own functions, whatever their scopes. What
    is done to it must be a subscript with a text, or `get`; with anything else, such as a loop, it may be read whole.

    Args:
        source: The script.
    """
    try:
        return _Flow(ast.parse(source)).keys()
    except (SyntaxError, ValueError, _AnyKeyError):
        return None


class _AnyKeyError(Exception):
    """The script may read any key."""


class _Flow:
    """Follows one value through a script."""

    def __init__(self, tree: ast.Module) -> None:
        self._nodes = list(ast.walk(tree))
        self._parent = {child: node for node in self._nodes for child in ast.iter_child_nodes(node)}
        functions = [node for node in self._nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        self._functions = {one.name: one for one in functions}
        stored = {node.id for node in self._nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        if len(self._functions) < len(functions) or stored & {NAME, *self._functions}:
            raise _AnyKeyError  # a name may stand for another function
        self._followed: set[str] = set()

    def keys(self) -> frozenset[str]:
        return frozenset(key for use in self._uses(NAME) for key in self._called(use))

    def _uses(self, name: str) -> Iterator[ast.expr]:
        for node in self._nodes:
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
                yield node

    def _called(self, use: ast.expr) -> Iterator[str]:
        call = self._parent[use]
        if not isinstance(call, ast.Call) or call.func is not use:
            raise _AnyKeyError
        yield from self._read(call)

    def _read(self, value: ast.expr) -> Iterator[str]:
        """Yield the keys that are read of an expression's value."""
        around = self._parent[value]
        if isinstance(around, ast.Await):
            yield from self._read(around)
        elif isinstance(around, ast.Subscript) and around.value is value and isinstance(around.ctx, ast.Load):
            yield _text(around.slice)
        elif isinstance(around, ast.Attribute) and around.attr == "get":
            call = self._parent[around]
            if not isinstance(call, ast.Call) or not call.args:
                raise _AnyKeyError
            yield _text(call.args[0])
        elif isinstance(around, ast.Call) and value in around.args:
            yield from self._passed(around, around.args.index(value))
        elif isinstance(around, ast.Assign | ast.AnnAssign):
            yield from self._assigned(around)
        else:
            raise _AnyKeyError

    def _assigned(self, statement: ast.Assign | ast.AnnAssign) -> Iterator[str]:
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            if not isinstance(target, ast.Name):
                raise _AnyKeyError
            yield from self._named(target.id)

    def _passed(self, call: ast.Call, at: int) -> Iterator[str]:
        function = self._functions.get(call.func.id) if isinstance(call.func, ast.Name) else None
        if function is None or any(isinstance(one, ast.Starred) for one in call.args):
            raise _AnyKeyError
        parameters = [*function.args.posonlyargs, *function.args.args]
        if at >= len(parameters):
            raise _AnyKeyError
        yield from self._named(parameters[at].arg)

    def _named(self, name: str) -> Iterator[str]:
        if name not in self._followed:
            self._followed.add(name)
            for use in self._uses(name):
                yield from self._read(use)


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise _AnyKeyError

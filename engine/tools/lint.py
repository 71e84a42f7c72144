"""What the sandbox does not run, or runs differently: one walk over a script's syntax tree, all findings at once."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from typing import Any

from engine.diagnostics import Diagnostic, did_you_mean
from engine.tools.source import Source

MODULES = frozenset(
    {"json", "re", "math", "datetime", "typing", "dataclasses", "os", "os.path", "pathlib", "asyncio", "collections"}
    | {"itertools", "functools", "random", "time", "sys", "decimal", "hashlib", "base64", "binascii", "copy", "csv"}
    | {"bisect", "tomllib", "unicodedata"}
)
"""Modules that the sandbox has, some of them in part."""

_MISSING = frozenset({"callable", "compile", "dir", "globals", "help", "input", "issubclass", "vars", "__import__"})
_SYNCHRONOUS = frozenset({"map", "filter", "sorted", "min", "max"})
_IGNORED_METHODS = {"__bool__": "is ignored", "__len__": "raises TypeError", "__lt__": "raises TypeError"}
_METHOD_DECORATORS = frozenset({"property", "staticmethod", "classmethod"})


class Lint:
    """Collects T002, T003 and T010 (and T004, T005 for declarations in the wrong place) of one script."""

    def __init__(self, source: Source, externals: Iterable[tuple[str, bool]], forms: set[int]) -> None:
        self._source = source
        self._externals = dict(externals)
        self._forms = forms
        self.found: list[Diagnostic] = []

    def check(self, body: Iterable[ast.stmt]) -> None:
        """Walk these statements."""
        for statement in body:
            for node in ast.walk(statement):
                handler = _HANDLERS.get(type(node))
                if handler is not None:
                    handler(self, node)

    def _report(self, code: str, node: Any, message: str, hint: str | None = None) -> None:
        self.found.append(Diagnostic(code, message, self._source.span(node), hint))

    def _unsupported(self, node: Any) -> None:
        what, hint = _CONSTRUCTS[type(node)]
        self._report("T002", node, f"the sandbox does not run {what}", hint)

    def _class(self, node: ast.ClassDef) -> None:
        place = [*node.bases, *node.keywords]
        if place:
            self._report(
                "T002", place[0], f"the class '{node.name}' may have no base classes or keywords", "Use a plain class."
            )
        for item in node.body:
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._method(item)

    def _method(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Name) and decorator.id in _METHOD_DECORATORS:
                self._report(
                    "T002", decorator, f"the sandbox does not run @{decorator.id}", "Write a plain method or function."
                )
        if node.name in _IGNORED_METHODS:
            span = self._source.name_span(node, node.name)
            self.found.append(
                Diagnostic("T010", f"the method '{node.name}' {_IGNORED_METHODS[node.name]} in the sandbox", span)
            )

    def _import(self, node: ast.Import) -> None:
        for item in node.names:
            self._module(item.name, item)

    def _import_from(self, node: ast.ImportFrom) -> None:
        if node.level:
            self._report("T003", node, "a script cannot import from its own folder", "Put the code into the script.")
            return
        if any(item.name == "*" for item in node.names):
            self._report(
                "T002", node, f"the sandbox does not run 'from {node.module} import *'", "Name what you import."
            )
        self._module(node.module or "", node)

    def _module(self, name: str, node: Any) -> None:
        if name in MODULES:
            return
        if name in {"grail", "engine", "engine.pym"}:
            self._report(
                "T003",
                node,
                f"'{name}' is only for Input and external",
                "Write: from engine.pym import Input, external",
            )
            return
        hint = did_you_mean(name, MODULES)
        message = f"the sandbox has no module '{name}'" + (f"; {hint}" if hint else "")
        self._report("T003", node, message, f"It has {', '.join(sorted(MODULES))}.")

    def _call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Name):
            self._call_name(node, node.func.id)
        elif isinstance(node.func, ast.Attribute) and node.func.attr == "gather":
            for keyword in node.keywords:
                if keyword.arg == "return_exceptions":
                    self._report(
                        "T010",
                        keyword,
                        "asyncio.gather takes no return_exceptions in the sandbox",
                        "Catch in each call.",
                    )

    def _call_name(self, node: ast.Call, name: str) -> None:
        if name == "Input" and id(node) not in self._forms:
            self._report("T004", node, "an Input is declared at the top level, as NAME: TYPE = Input(…)")
        elif name in _MISSING:
            self._report("T010", node, f"the sandbox has no builtin '{name}'")
        elif name in _SYNCHRONOUS:
            self._external_inside(node, name)
        elif name == "next" and node.args and isinstance(node.args[0], ast.GeneratorExp):
            self._report(
                "T010",
                node,
                "a generator expression is a list in the sandbox, so next() fails",
                "Write iter([…]) around it.",
            )

    def _external_inside(self, node: ast.Call, name: str) -> None:
        functions = [*node.args[:1], *(item.value for item in node.keywords if item.arg == "key")]
        for function in functions:
            bodies = function.body if isinstance(function, ast.Lambda) else function
            if isinstance(function, (ast.Lambda, ast.Name)):
                for inner in ast.walk(bodies):
                    if isinstance(inner, ast.Name) and inner.id in self._externals:
                        self._report(
                            "T010",
                            inner,
                            f"the external '{inner.id}' cannot be called from inside {name}()",
                            "Use a comprehension.",
                        )

    def _raise(self, node: ast.Raise) -> None:
        call = node.exc
        if isinstance(call, ast.Call) and (len(call.args) > 1 or any(_not_text(item) for item in call.args)):
            self._report("T010", call, "an exception takes one text at most in the sandbox", "Use an f-string.")

    def _attribute(self, node: ast.Attribute) -> None:
        if node.attr in {"__name__", "__doc__"}:
            self._report("T010", node, f"functions have no '{node.attr}' in the sandbox")
        self._not_awaited(node.value)

    def _expression(self, node: Any) -> None:
        for child in ast.iter_child_nodes(node):
            self._not_awaited(child)

    def _not_awaited(self, node: ast.AST) -> None:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and self._externals.get(node.func.id):
            self._report("T010", node, f"the external '{node.func.id}' is async: its result needs await")

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Name) and decorator.id == "external" and id(decorator) not in self._forms:
                self._report("T005", decorator, "an external is declared at the top level")


def _not_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not isinstance(node.value, str)


_CONSTRUCTS: dict[type[ast.AST], tuple[str, str]] = {
    ast.AsyncWith: ("async with", "Await the calls instead."),
    ast.Delete: ("del", "Assign None, or build a new value without the item."),
    ast.TryStar: ("except*", "Use except."),
    ast.Yield: ("yield", "Build a list and return it."),
    ast.YieldFrom: ("yield from", "Build a list and return it."),
}

_HANDLERS: dict[type[ast.AST], Callable[[Lint, Any], None]] = {
    **dict.fromkeys(_CONSTRUCTS, Lint._unsupported),  # noqa: SLF001 - the walk's own table
    **dict.fromkeys((ast.FunctionDef, ast.AsyncFunctionDef), Lint._function),  # noqa: SLF001
    **dict.fromkeys((ast.Expr, ast.BinOp, ast.BoolOp, ast.Compare, ast.FormattedValue, ast.If), Lint._expression),  # noqa: SLF001
    ast.Attribute: Lint._attribute,  # noqa: SLF001
    ast.Call: Lint._call,  # noqa: SLF001
    ast.ClassDef: Lint._class,  # noqa: SLF001
    ast.Import: Lint._import,  # noqa: SLF001
    ast.ImportFrom: Lint._import_from,  # noqa: SLF001
    ast.Raise: Lint._raise,  # noqa: SLF001
}

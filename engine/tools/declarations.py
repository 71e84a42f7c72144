"""Reads the declarations of a script: what it imports from `grail` or `engine.pym`, its inputs and its externals."""

from __future__ import annotations

import ast
import builtins
import inspect
import json
from typing import Any

from engine.diagnostics import Diagnostic, Span
from engine.tools.annotations import AnnotationError, annotation_type, schema_of, shown
from engine.tools.script import REQUIRED, ScriptExternal, ScriptInput
from engine.tools.source import Source, comment_of, leading_comment

PYM_MODULES = frozenset({"grail", "engine.pym"})
GATE = "pym_gate_"
_FORMS = frozenset({"Input", "external"})
_BUILTINS = frozenset(dir(builtins))


class Declarations:
    """Collects the declarations of one script; `blank` are the statements that the sandbox must not see."""

    def __init__(self, source: Source, tree: ast.Module) -> None:
        self._source = source
        self.found: list[Diagnostic] = []
        self.inputs: list[ScriptInput] = []
        self.externals: list[ScriptExternal] = []
        self.blank: list[ast.stmt] = []
        self.forms: set[int] = set()
        self._names = {"Input": "Input", "external": "external"}
        self._after = leading_comment(source)[1]
        for node in tree.body:
            self._statement(node)
            self._after = node.end_lineno or node.lineno

    def _report(self, code: str, span: Span, message: str, hint: str | None = None) -> None:
        self.found.append(Diagnostic(code, message, span, hint))

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            self._import(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and self._is_external(node):
            self._external(node)
        elif isinstance(node, (ast.AnnAssign, ast.Assign)):
            call = node.value
            if isinstance(call, ast.Call) and self._form(call.func) == "Input":
                self._input(node, call)

    def _import(self, node: ast.ImportFrom) -> None:
        if node.module == "__future__":
            self.blank.append(node)
        elif node.module in PYM_MODULES:
            self.blank.append(node)
            for item in node.names:
                if item.name in _FORMS:
                    self._names[item.asname or item.name] = item.name
                else:
                    message = f"'{node.module}' has no '{item.name}'"
                    self._report("T003", self._source.span(item), message, "It has Input and external.")

    def _form(self, node: ast.expr) -> str | None:
        return self._names.get(node.id) if isinstance(node, ast.Name) else None

    def _is_external(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
        return any(self._form(item) == "external" for item in node.decorator_list)

    # -- inputs

    def _input(self, node: ast.AnnAssign | ast.Assign, call: ast.Call) -> None:
        self.blank.append(node)
        self.forms.add(id(call))
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        if not isinstance(target, ast.Name):
            self._report("T004", self._source.span(target), "an Input must be assigned to a name")
            return
        span = self._source.span(target)
        if isinstance(node, ast.Assign):
            self._report(
                "T004", span, f"the input '{target.id}' has no annotation", f"Write {target.id}: str = Input(…)."
            )
            return
        if not self._name_ok("input", "T004", target.id, span):
            return
        arguments = self._arguments(call, target.id)
        schema = self._schema(node.annotation, f"the input '{target.id}'")
        if arguments is None or schema is None:
            return
        description, default = arguments
        description = description or comment_of(self._source, node, self._after)
        if description:
            schema["description"] = description
        if default is not REQUIRED and not self._add_default(schema, default, target.id, call):
            return
        annotation = shown(node.annotation)
        self.inputs.append(ScriptInput(target.id, annotation, schema, default is REQUIRED, default, description, span))

    def _name_ok(self, kind: str, code: str, name: str, span: Span) -> bool:
        taken = {item.name for item in self.inputs} | {item.name for item in self.externals}
        problem = None
        if name in taken:
            problem = "is declared twice"
        elif kind == "external" and name in _BUILTINS:
            problem = "has the name of a Python builtin, which wins over it"
        elif name.startswith("_") or name == GATE or not name.isascii():
            problem = "must begin with a letter and have ASCII letters, digits and _ only"
        if problem:
            self._report(code, span, f"the {kind} '{name}' {problem}", "Rename it.")
        return problem is None

    def _schema(self, annotation: ast.expr, what: str) -> dict[str, Any] | None:
        try:
            return schema_of(annotation)
        except AnnotationError as error:
            self._report(
                "T011", self._source.span(annotation), f"the annotation of {what} cannot become a JSON Schema: {error}"
            )
            return None

    def _arguments(self, call: ast.Call, name: str) -> tuple[str, Any] | None:
        """Return the description and the default of an Input, or None after reporting."""
        named: dict[str, ast.expr] = dict(zip(("name", "default"), call.args, strict=False))
        for keyword in call.keywords:
            if keyword.arg not in {"name", "default", "description"} or keyword.arg in named:
                shown_name = keyword.arg or "**"
                self._report(
                    "T004",
                    self._source.span(keyword),
                    f"Input takes no '{shown_name}' here",
                    "It takes a name, default, description.",
                )
                return None
            named[keyword.arg] = keyword.value
        if len(call.args) > 2:
            self._report("T004", self._source.span(call), "Input takes a name and a default, then keywords only")
            return None
        values = {}
        for key, node in named.items():
            try:
                values[key] = _json_literal(node)
            except (ValueError, TypeError, SyntaxError, RecursionError):
                self._report(
                    "T004", self._source.span(node), f"the {key} of the input '{name}' must be a literal JSON value"
                )
                return None
        return self._checked(values, named, name)

    def _checked(self, values: dict[str, Any], named: dict[str, ast.expr], name: str) -> tuple[str, Any] | None:
        if values.get("name", name) != name:
            span = self._source.span(named["name"])
            self._report(
                "T004", span, f"the input '{name}' is called {values['name']!r} in Input; the two must be equal"
            )
            return None
        description = values.get("description", "")
        if not isinstance(description, str):
            self._report("T004", self._source.span(named["description"]), "the description of an Input must be a text")
            return None
        return description, values.get("default", REQUIRED)

    def _add_default(self, schema: dict[str, Any], default: Any, name: str, call: ast.Call) -> bool:
        from jsonschema import Draft202012Validator

        if Draft202012Validator(schema).is_valid(default):
            schema["default"] = default
            return True
        if default is None:  # `x: str = Input("x", default=None)` is common: the script tests for None itself
            return True
        self._report("T004", self._source.span(call), f"the default of the input '{name}' does not fit its annotation")
        return False

    # -- externals

    def _external(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.blank.append(node)
        self.forms.update(id(item) for item in node.decorator_list)
        span = self._source.name_span(node, node.name)
        ok = self._name_ok("external", "T005", node.name, span)
        if not _is_stub(node.body):
            self._report(
                "T005", self._source.span(node.body[0]), f"the body of the external '{node.name}' must be '...'"
            )
            ok = False
        if len(node.decorator_list) > 1:
            self._report("T005", self._source.span(node.decorator_list[0]), "an external has no other decorator")
            ok = False
        if ok and self._parameters_ok(node, span):
            names = tuple(item.arg for item in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs))
            is_async = isinstance(node, ast.AsyncFunctionDef)
            self.externals.append(ScriptExternal(node.name, is_async, names, _signature(node), span))

    def _parameters_ok(self, node: ast.FunctionDef | ast.AsyncFunctionDef, span: Span) -> bool:
        before = len(self.found)
        args = node.args
        if args.vararg or args.kwarg:
            self._report("T005", span, f"the external '{node.name}' may not take *args or **kwargs")
        for item in (*args.posonlyargs, *args.args, *args.kwonlyargs):
            if item.annotation is None:
                self._report(
                    "T005", self._source.span(item), f"the parameter '{item.arg}' of '{node.name}' has no annotation"
                )
            else:
                self._annotation_ok(item.annotation, f"the parameter '{item.arg}'")
        if node.returns is None:
            self._report(
                "T005", span, f"the external '{node.name}' has no return annotation", "Write -> None for none."
            )
        else:
            self._annotation_ok(node.returns, f"the result of '{node.name}'")
        return len(self.found) == before

    def _annotation_ok(self, annotation: ast.expr, what: str) -> None:
        try:
            annotation_type(annotation)
        except AnnotationError as error:
            self._report("T011", self._source.span(annotation), f"the annotation of {what} is not JSON data: {error}")


def _json_literal(node: ast.expr) -> Any:
    """Return the JSON value that a literal means.

    Raises:
        ValueError, TypeError, SyntaxError, RecursionError: It is not a literal, or not JSON.
    """
    value = ast.literal_eval(node)
    if json.loads(json.dumps(value, allow_nan=False)) != value:
        raise ValueError("not a JSON value")
    return value


def _is_stub(body: list[ast.stmt]) -> bool:
    rest = body[1:] if _is_constant(body[0], str) else body
    return all(isinstance(item, ast.Pass) or _is_constant(item, type(...)) for item in rest)


def _is_constant(node: ast.stmt, kind: type) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, kind)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{kind} {node.name}({ast.unparse(node.args)}){returns}: ..."


def docstring_of(tree: ast.Module, source: Source) -> str:
    """Return what the script says about itself: its docstring, else the comment block at its top."""
    text = ast.get_docstring(tree, clean=False)
    return inspect.cleandoc(text) if text and text.strip() else leading_comment(source)[0]

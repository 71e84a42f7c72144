"""Params, expressions and queries: schemas that hold, defaults that fit, code that compiles (part of references)."""

from __future__ import annotations

from typing import Any

from engine.bundle.draft import Draft
from engine.bundle.values import check_schema, problem_of
from engine.diagnostics import Diagnostic, Span
from engine.manifest import LANGUAGES
from engine.manifest.bundle_model import ScriptTool


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings."""
    return [*_params(draft), *_expressions(draft), *_query(draft)]


def _params(draft: Draft) -> list[Diagnostic]:
    findings = []
    for name, schema in draft.manifest.params.items() if draft.sound("params") else ():
        if not draft.sound("params", name):
            continue
        problem = check_schema(schema)
        if problem:
            help_text = "write a JSON Schema, such as {type: string, default: google}"
            findings.append(Diagnostic("R010", f"params.{name}: {problem}", draft.key("params", name), help_text))
        elif "default" in schema and _fits(draft, name):
            problem = problem_of(schema, schema["default"])
            if problem:
                message = f"params.{name}: the default does not fit the schema: {problem}"
                findings.append(
                    Diagnostic("R010", message, draft.value("params", name, "default"), "mend one of the two")
                )
    return findings


def _fits(draft: Draft, name: str) -> bool:
    return all(path[:2] != ("params", name) for path in (draft.typed.broken if draft.typed else ()))


def _expressions(draft: Draft) -> list[Diagnostic]:
    from engine.prompts import check_expression

    scope = draft.scope()
    found: list[tuple[str, Any, Span]] = []
    if draft.sound("nodes", "when") and draft.manifest.nodes.when is not None:
        found.append((draft.manifest.nodes.when, scope.only("node", "params"), draft.value("nodes", "when")))
    for index, route in draft.each("routing"):
        if route.when is not None:
            place = draft.value("routing", index, "when")
            found.append((route.when, scope.only("turn", "node", "params", "model", "context"), place))
    for index, tool in draft.each("tools"):
        for name, source in tool.bind.items() if isinstance(tool, ScriptTool) else ():
            place = draft.value("tools", index, "bind", name)
            found.append((source, scope.only("node", "params", "context", "model"), place))
    return [finding for source, names, span in found for finding in check_expression(source, names, span)]


def _query(draft: Draft) -> list[Diagnostic]:
    name = draft.manifest.nodes.query if draft.sound("nodes", "query") else None
    text = draft.text(name) if name is not None else None
    if name is None or text is None:
        return []
    languages = [item for item in draft.manifest.nodes.languages if item in LANGUAGES]
    if not languages:
        message = "nodes.query needs nodes.languages: a query is written for a grammar"
        return [Diagnostic("R008", message, draft.value("nodes", "query"), "name the query's languages")]
    file = draft.source.show(name)
    return [finding for language in languages for finding in check_query(text, language, file)]


def check_query(text: str, language: str, file: str) -> list[Diagnostic]:
    """Compile a tree-sitter query for a language; return R008 when it does not compile."""
    import tree_sitter

    try:
        query = tree_sitter.Query(LANGUAGES[language].load(), text)
    except (tree_sitter.QueryError, ValueError) as error:
        row, column = _place(str(error))
        message = f"the query does not compile for {language}: {error}"
        return [
            Diagnostic("R008", message, Span(file, row + 1, column + 1), "tree-sitter's documentation has the syntax")
        ]
    names = [query.capture_name(index) for index in range(query.capture_count)]
    if not any(name == "node" or name.endswith(".def") for name in names):
        message = "the query marks nothing as a node: it captures neither @node nor @TYPE.def"
        return [Diagnostic("R008", message, Span(file), "mark what it is to find with @node")]
    return []


def _place(message: str) -> tuple[int, int]:
    import re

    found = re.search(r"row (\d+), column (\d+)", message)
    return (int(found.group(1)), int(found.group(2))) if found else (0, 0)

"""Completion of `.pym` scripts: externals, inputs and what they import."""

from __future__ import annotations

import re
from collections.abc import Iterator

from engine.lsp.completion.choices import Choice, literal
from engine.lsp.script_context import (
    ScriptCursor,
    declared_externals,
    declared_inputs,
    import_end,
    missing_import,
    script_cursor,
)
from engine.lsp.view import Request
from engine.tools import EXTERNALS, SYSTEM_INPUTS, External

_ARGUMENTS = {"default": "The value when the model leaves the input out.", "description": "What the model reads."}
_SYSTEM_TYPES = {"start_line": "int", "end_line": "int"}
_IMPORT = "from grail import {}\n\n"


def script_choices(request: Request) -> list[Choice]:
    """Return what may stand at a place of a script."""
    cursor = script_cursor(request.text, request.offset)
    if cursor.want == "statement":
        return [*_declarations(request.text, cursor), *_names(request.text, cursor)]
    if cursor.want == "external":
        return list(_externals(request.text, cursor, decorated=True))
    if cursor.want == "input":
        return [
            Choice(name, "key", cursor.first, cursor.last, f"{name}=", docs=docs) for name, docs in _ARGUMENTS.items()
        ]
    if cursor.want == "import":
        return [Choice(name, "name", cursor.first, cursor.last, name) for name in ("Input", "external")]
    return list(_names(request.text, cursor)) if cursor.want == "code" else []


def _declarations(text: str, cursor: ScriptCursor) -> Iterator[Choice]:
    """Offer whole declarations at the left margin."""
    first = cursor.first
    at_sign = text[first - 1 : first] == "@"
    if at_sign:
        cursor = ScriptCursor(cursor.want, cursor.word, first - 1, cursor.last)
    yield from _externals(text, cursor, decorated=False)
    if at_sign:
        return
    also = _import(text, "Input")
    body = '${1:name}: ${2|str,int,float,bool,list[str]|} = Input("${1:name}", description="$3")\n$0'
    docs = "What the model gives: it becomes an argument of the tool."
    yield Choice("Input", "snippet", cursor.first, cursor.last, body, True, "input of the tool", docs, also)
    for name in SYSTEM_INPUTS:
        if name not in declared_inputs(text):
            kind, default = (_SYSTEM_TYPES.get(name, "str"), "0" if name in _SYSTEM_TYPES else '""')
            line = f'{name}: {kind} = Input("{name}", default={default})\n'
            docs = "The engine fills it from the node; the model never sees it."
            yield Choice(name, "snippet", cursor.first, cursor.last, line, detail="input", docs=docs, also=also)


def _externals(text: str, cursor: ScriptCursor, *, decorated: bool) -> Iterator[Choice]:
    """Offer the declarations of externals; behind `@external` only the function."""
    first = cursor.first
    if decorated:  # replace `async def` too
        first = text.rfind("\n", 0, cursor.first) + 1
    declared = declared_externals(text)
    for item in EXTERNALS.values():
        if item.available and item.name not in declared:
            head = "" if decorated else "@external\n"
            body = f"{head}{literal(item.signature.removesuffix(' ...'))}\n    ...\n$0"
            also = None if decorated else _import(text, "external")
            detail = f"external ({item.permission})" if item.permission else "external"
            yield Choice(item.name, "function", first, cursor.last, body, True, detail, external_docs(item), also)


def external_docs(item: External) -> str:
    """Return what an external is: its declaration and the permission that it needs."""
    needs = f"Needs the permission `{item.permission}`." if item.permission else "Needs no permission."
    missing = "" if item.available else "\n\nThis version does not have it yet."
    return f"```python\n@external\n{item.signature}\n```\n\n{needs}{missing}"


def _names(text: str, cursor: ScriptCursor) -> Iterator[Choice]:
    """Offer what the script has declared."""
    for name in declared_externals(text):
        known = EXTERNALS.get(name)
        insert = name if cursor.called else f"await {name}($0)"
        docs = external_docs(known) if known is not None else None
        waits = re.search(r"\bawait\s+\Z", text[max(cursor.first - 20, 0) : cursor.first])
        insert = insert.removeprefix("await ") if waits else insert
        yield Choice(name, "function", cursor.first, cursor.last, insert, "$" in insert, "external", docs)
    for name in declared_inputs(text):
        yield Choice(name, "name", cursor.first, cursor.last, name, detail="input")


def _import(text: str, name: str) -> tuple[int, str] | None:
    """Return the import that a declaration needs, and where: in front of the first import or declaration."""
    if not missing_import(text, name):
        return None
    names = import_end(text)
    return (names, f", {name}") if names is not None else (import_place(text), _IMPORT.format(name))


def import_place(text: str) -> int:
    """Return where an import may stand: behind the docstring or the comment at the top."""
    found = re.match(r'(?:[ \t]*(?:#[^\n]*)?\n)*(?:"""(?:.|\n)*?"""[^\n]*\n(?:[ \t]*\n)*)?', text)
    return found.end() if found else 0

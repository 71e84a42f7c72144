"""Hover: what the thing below the cursor is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from engine.diagnostics import Diagnostic, page
from engine.lsp import jinja_names, things
from engine.lsp.completion.script import external_docs
from engine.lsp.homes import FileKind
from engine.lsp.inline import inline_at
from engine.lsp.outline import Outline, Slot, fits, read_outline
from engine.lsp.schemas import docs_of, schemas_at
from engine.lsp.script_context import declared_inputs, script_cursor
from engine.lsp.template_context import TemplateCursor, template_cursor
from engine.lsp.view import Request
from engine.manifest import JsonPath
from engine.manifest.schema import Kind


@dataclass(frozen=True, slots=True)
class Docs:
    """Markdown about a range of the text."""

    text: str
    first: int
    last: int


def hover(request: Request) -> Docs | None:
    """Return what the thing at a place is; None when there is nothing to say."""
    look = _BY_KIND.get(request.kind)
    return look(request) if look is not None else None


def with_pages(docs: Docs | None, request: Request, found: Sequence[Diagnostic]) -> Docs | None:
    """Add the pages of findings that are at the place."""
    pages = [page(code) for code in dict.fromkeys(item.code for item in found)]
    if not pages:
        return docs
    text = "\n\n---\n\n".join([*([docs.text] if docs is not None else []), *pages])
    return Docs(text, docs.first, docs.last) if docs is not None else Docs(text, request.offset, request.offset)


def _manifest(request: Request) -> Docs | None:
    inline = inline_at(request.text, request.offset)
    if inline is not None and inline.cursor is not None:
        return _jinja(request, inline.cursor)
    return _document(request, "bundle")


def _document(request: Request, kind: Kind) -> Docs | None:
    outline = read_outline(request.text)
    slot = slot_at(outline, request.offset)
    if slot is None:
        return None
    text = _key(request, kind, outline, slot) if slot.role == "key" else _value(request, kind, slot)
    return Docs(text, slot.first, slot.last) if text else None


def slot_at(outline: Outline, offset: int) -> Slot | None:
    """Return the key or the single value whose text the cursor touches."""
    found = [slot for slot in outline.slots if slot.first <= offset <= slot.last and slot.text and not slot.block]
    return found[-1] if found else None


def _key(request: Request, kind: Kind, outline: Outline, slot: Slot) -> str | None:
    named = things.thing_at(things.KEYS[kind], slot.path)
    if named is not None and request.view is not None:
        return things.THINGS[named].docs(request.view, slot.path, slot.text)
    if kind == "tests" and fits(slot.path, ("cases", "*", "expect", "calls", "*", "arguments")) and request.view:
        tool = outline.value((*slot.path[:-1], "tool"))
        return things.argument_docs(request.view, tool.text if tool is not None else None, slot.text)
    return _field(kind, (*slot.path, slot.text))


def _field(kind: Kind, path: JsonPath) -> str | None:
    for schema in schemas_at(kind, path[:-1]):
        field = schema.get("properties", {}).get(path[-1])
        if field is not None:
            return docs_of(str(path[-1]), field, required=path[-1] in schema.get("required", ()))
    return None


def _value(request: Request, kind: Kind, slot: Slot) -> str | None:
    named = things.thing_at(things.VALUES[kind], slot.path)
    found = None
    if named is not None and request.view is not None:
        found = things.THINGS[named].docs(request.view, slot.path, slot.text)
        if found is None and named == "script":
            found = _script_docs(request, slot)
    return found or (_field(kind, slot.path) if slot.path and isinstance(slot.path[-1], str) else None)


def _script_docs(request: Request, slot: Slot) -> str | None:
    """A tool's script: the tool as the model sees it."""
    assert request.view is not None  # noqa: S101 - the caller's condition
    if slot.path[0] == "context":
        name = request.view.outline.value((*slot.path[:2], "name"))
        return things.context_docs(request.view, (), name.text) if name is not None else None
    tool = request.view.tool_of(slot.path[1])
    return things.tool_docs(request.view, (), tool) if tool is not None else None


def _template(request: Request) -> Docs | None:
    cursor = template_cursor(request.text, request.offset)
    return _jinja(request, cursor) if cursor is not None else None


def _jinja(request: Request, cursor: TemplateCursor) -> Docs | None:
    if request.view is None or not cursor.word:
        return None
    if cursor.want not in ("name", "attribute"):
        return None
    text = jinja_names.docs(request.view, cursor.owner, cursor.word)
    return Docs(text, cursor.first, cursor.last) if text else None


def _script(request: Request) -> Docs | None:
    from engine.tools import EXTERNALS

    cursor = script_cursor(request.text, request.offset)
    known = EXTERNALS.get(cursor.word)
    if known is not None:
        return Docs(external_docs(known), cursor.first, cursor.last)
    uses = [use for use in (request.view.uses if request.view is not None else []) if use.file == request.name]
    for use in uses:
        item = use.script.input(cursor.word) if use.script is not None else None
        if item is not None and cursor.word in declared_inputs(request.text):
            schema = {**item.schema, "description": item.description}
            return Docs(docs_of(item.name, schema, required=item.required), cursor.first, cursor.last)
    return None


_BY_KIND: Mapping[FileKind, Callable[[Request], Docs | None]] = {
    "manifest": _manifest,
    "cases": lambda request: _document(request, "tests"),
    "settings": lambda request: _document(request, "engine"),
    "template": _template,
    "script": _script,
}

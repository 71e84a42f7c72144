"""Go to definition: between the manifest, the templates, the scripts and the cases of a bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.lsp import jinja_names, things
from engine.lsp.homes import FileKind
from engine.lsp.hover import slot_at
from engine.lsp.inline import inline_at
from engine.lsp.outline import Slot, read_outline
from engine.lsp.script_context import declared_externals, declared_inputs, script_cursor
from engine.lsp.template_context import TemplateCursor, template_cursor
from engine.lsp.things import Target
from engine.lsp.view import Request, View
from engine.manifest.schema import Kind


def definition(request: Request) -> Target | None:
    """Return where the thing at a place is defined; None when it is nothing that is defined elsewhere."""
    look = _BY_KIND.get(request.kind)
    return look(request, request.view) if look is not None and request.view is not None else None


def _manifest(request: Request, view: View) -> Target | None:
    inline = inline_at(request.text, request.offset)
    if inline is not None and inline.cursor is not None:
        return _jinja(request, view, inline.cursor, inline.text)
    return _document(request, view, "bundle")


def _document(request: Request, view: View, kind: Kind) -> Target | None:
    slot = slot_at(read_outline(request.text), request.offset)
    if slot is None:
        return None
    if slot.role == "key":
        named = things.thing_at(things.KEYS[kind], slot.path)
        if named is not None:
            return things.THINGS[named].place(view, slot.path, slot.text)
        return things.overridden(view, (*slot.path, slot.text)) if kind == "bundle" else None
    return _value(view, kind, slot)


def _value(view: View, kind: Kind, slot: Slot) -> Target | None:
    named = things.thing_at(things.VALUES[kind], slot.path)
    return things.THINGS[named].place(view, slot.path, slot.text) if named is not None else None


def _template(request: Request, view: View) -> Target | None:
    cursor = template_cursor(request.text, request.offset)
    return _jinja(request, view, cursor, request.text) if cursor is not None else None


def _jinja(request: Request, view: View, cursor: TemplateCursor, text: str) -> Target | None:
    if cursor.want == "path":
        return things.in_template(view, cursor.word) if cursor.word else None
    if cursor.want == "block":
        return jinja_names.block_place(view, text, cursor.word)
    if cursor.want == "name" and cursor.word and cursor.word not in view.scope.names:
        return _local(request, cursor)
    return jinja_names.place(view, cursor.owner, cursor.word) if cursor.word else None


def _local(request: Request, cursor: TemplateCursor) -> Target | None:
    """Where a template binds a name itself."""
    first = jinja_names.bound_at(request.text, cursor.word)
    if first is None:
        return None
    return Target(request.path, request.text, first, first + len(cursor.word))


def _script(request: Request, _view: View) -> Target | None:
    cursor = script_cursor(request.text, request.offset)
    declared = {**declared_externals(request.text), **declared_inputs(request.text)}
    first = declared.get(cursor.word)
    return Target(request.path, request.text, first, first + len(cursor.word)) if first is not None else None


_BY_KIND: Mapping[FileKind, Callable[[Request, View], Target | None]] = {
    "manifest": _manifest,
    "cases": lambda request, view: _document(request, view, "tests"),
    "settings": lambda request, view: _document(request, view, "engine"),
    "template": _template,
    "script": _script,
}

"""Completion of Jinja: templates, those inside a manifest, and expressions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from engine.lsp import jinja_names
from engine.lsp.completion.choices import Choice
from engine.lsp.inline import Inline, inline_at
from engine.lsp.template_context import TemplateCursor, local_names, template_cursor
from engine.lsp.view import Request, View


def template_choices(request: Request) -> list[Choice]:
    """Return what may stand at a place of a template."""
    cursor = template_cursor(request.text, request.offset)
    if cursor is None or request.view is None:
        return []
    return list(_choices(request.view, cursor, request.text, request.name, None))


def inline_choices(request: Request) -> list[Choice]:
    """Return what may stand at a place of a manifest that is a template or an expression."""
    inline = inline_at(request.text, request.offset)
    if inline is None or inline.cursor is None or request.view is None:
        return []
    return list(_choices(request.view, inline.cursor, inline.text, request.name, inline))


def _choices(view: View, cursor: TemplateCursor, text: str, own: str, inline: Inline | None) -> Iterator[Choice]:
    if cursor.want == "statement":
        yield from _plain(cursor, jinja_names.STATEMENTS, "keyword", "statement")
    elif cursor.want == "filter":
        yield from _plain(cursor, jinja_names.filter_names(), "function", "filter")
    elif cursor.want == "test":
        yield from _plain(cursor, jinja_names.test_names(), "function", "test")
    elif cursor.want == "path":
        yield from _plain(cursor, jinja_names.template_paths(view, own), "file", "template")
    elif cursor.want == "block":
        found = jinja_names.blocks(view, text)
        yield from (
            _choice(cursor, name, "name", f"block of {file}" if file else "block") for name, file in found.items()
        )
    elif cursor.want == "attribute":
        yield from _named(view, cursor, jinja_names.attributes(view, cursor.owner))
    elif cursor.want == "name":
        yield from _names(view, cursor, text, inline)


def _names(view: View, cursor: TemplateCursor, text: str, inline: Inline | None) -> Iterator[Choice]:
    allowed = view.scope.names if inline is None or inline.names is None else view.scope.only(*inline.names).names
    yield from _named(view, cursor, allowed)
    if inline is None or inline.names is None:
        yield from _plain(cursor, [name for name in local_names(text) if name not in allowed], "name", "set here")
        if "{% for" in text or "{%- for" in text:
            yield from _named(view, cursor, ["loop"])
    yield from _plain(cursor, ("range", "dict", "namespace"), "function", "function")


def _named(view: View, cursor: TemplateCursor, names: Iterable[str]) -> Iterator[Choice]:
    for name in names:
        docs = jinja_names.docs(view, cursor.owner, name)
        detail = docs.partition("\n")[0].partition(": ")[2][:60] if docs else ""
        yield Choice(name, "name", cursor.first, cursor.last, name, detail=detail, docs=docs)


def _plain(cursor: TemplateCursor, names: Iterable[str], look: str, detail: str) -> Iterator[Choice]:
    return (_choice(cursor, name, look, detail) for name in names)


def _choice(cursor: TemplateCursor, name: str, look: str, detail: str) -> Choice:
    return Choice(name, look, cursor.first, cursor.last, name, detail=detail)  # type: ignore[arg-type]  # one of Look

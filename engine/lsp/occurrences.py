"""Where a name of a bundle is used: adapters, tools, context providers and params, for references and renaming."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from engine.lsp.homes import kind_of
from engine.lsp.hover import slot_at
from engine.lsp.inline import TEMPLATES, inline_at
from engine.lsp.outline import Outline, Slot, fits, read_outline
from engine.lsp.template_context import TemplateCursor, template_cursor
from engine.lsp.things import EXPRESSIONS, KEYS, VALUES, Pattern, Target, in_file, thing_at
from engine.lsp.view import Request, View
from engine.manifest.bundle_model import IDENTIFIER
from engine.manifest.schema import Kind

# Where names are given: as the keys of a mapping, or as values.
_GIVEN_KEYS: dict[Pattern, str] = {("adapters",): "adapter", ("params",): "param"}
_GIVEN_VALUES: dict[Pattern, str] = {("context", "*", "name"): "context", ("tools", "*", "name"): "tool"}
_KINDS = frozenset({"adapter", "tool", "context", "param"})
_IN_JINJA = {"param": "params", "context": "context"}
_DOCUMENTS: dict[str, Kind] = {"manifest": "bundle", "cases": "tests"}


@dataclass(frozen=True, slots=True)
class Named:
    """A name below the cursor: the kind of thing, the name, and where it stands."""

    kind: str
    name: str
    first: int
    last: int


def named_at(request: Request) -> Named | None:
    """Return the name of a bundle's thing that is at a place."""
    if request.kind == "template":
        return _of_jinja(template_cursor(request.text, request.offset))
    if request.kind not in _DOCUMENTS:
        return None
    inline = inline_at(request.text, request.offset) if request.kind == "manifest" else None
    if inline is not None and inline.cursor is not None:
        return _of_jinja(inline.cursor)
    slot = slot_at(read_outline(request.text), request.offset)
    kind = _kind(_DOCUMENTS[request.kind], slot) if slot is not None else None
    return Named(kind, slot.text, *_inner(request.text, slot)) if slot is not None and kind is not None else None


def _of_jinja(cursor: TemplateCursor | None) -> Named | None:
    kinds = {(root,): kind for kind, root in _IN_JINJA.items()}
    if cursor is None or cursor.want != "attribute" or not cursor.word or cursor.owner not in kinds:
        return None
    return Named(kinds[cursor.owner], cursor.word, cursor.first, cursor.last)


def _kind(document: Kind, slot: Slot) -> str | None:
    """Return which kind of thing a key or a value names."""
    found = thing_at(KEYS[document] if slot.role == "key" else VALUES[document], slot.path)
    found = found or (_given(slot) if document == "bundle" else None)
    return found if found in _KINDS else None


def _given(slot: Slot) -> str | None:
    """Return which kind of thing a key or a value of a manifest gives a name to."""
    return thing_at(_GIVEN_KEYS if slot.role == "key" else _GIVEN_VALUES, slot.path)


def _inner(text: str, slot: Slot) -> tuple[int, int]:
    """Return where a name stands, its quotes left out."""
    quoted = text[slot.first : slot.first + 1] in ("'", '"') and slot.last - slot.first > 1
    return (slot.first + 1, slot.last - 1) if quoted else (slot.first, slot.last)


def occurrences(view: View, named: Named) -> list[Target]:
    """Return every place of a bundle's own files that has a name, in the order of files and places."""
    manifest = view.draft.manifest if view.draft is not None else None
    found: list[Target] = []
    for name in view.files:
        kind = "manifest" if name == view.manifest_name else kind_of(name, manifest)
        text = view.text(name) if (kind in _DOCUMENTS or kind == "template") and not _inherited(view, name) else None
        if text is None:
            continue
        places = _in_template(text, named) if kind == "template" else _in_document(text, _DOCUMENTS[kind], named)
        targets = (in_file(view, name, first, last) for first, last in sorted(set(places)))
        found += [target for target in targets if target is not None]
    return found


def _inherited(view: View, name: str) -> bool:
    return name in view.source.inherited and name not in view.texts


def _in_document(text: str, document: Kind, named: Named) -> Iterator[tuple[int, int]]:
    outline = read_outline(text)
    for slot in outline.slots:
        if slot.text == named.name and _kind(document, slot) == named.kind:
            yield _inner(text, slot)
    if document == "bundle":
        yield from _in_values(outline, named)


def _in_values(outline: Outline, named: Named) -> Iterator[tuple[int, int]]:
    """Yield the places in a manifest's templates and expressions."""
    for slot in outline.slots:
        if slot.role != "value":
            continue
        body = outline.text[slot.start : slot.end]
        if slot.path in TEMPLATES:
            inside = _in_template(body, named)
        elif any(fits(slot.path, pattern) for pattern in EXPRESSIONS):
            inside = _in_code(body, named)
        else:
            continue
        yield from ((first + slot.start, last + slot.start) for first, last in inside)


def _in_template(text: str, named: Named) -> Iterator[tuple[int, int]]:
    from engine.prompts.columns import mask

    return _in_code("\n".join(mask(text)), named)


def _in_code(text: str, named: Named) -> Iterator[tuple[int, int]]:
    root = _IN_JINJA.get(named.kind)
    if root is not None:
        for match in re.finditer(rf"(?<![\w.]){root}\s*\.\s*({re.escape(named.name)})(?!\w)", text):
            yield match.start(1), match.end(1)


def find(request: Request) -> list[Target]:
    """Return every place that has the name below the cursor."""
    named = named_at(request) if request.view is not None else None
    return occurrences(request.view, named) if named is not None and request.view is not None else []


def renamable(request: Request) -> Named | None:
    """Return the name below the cursor if the manifest gives it; a tool may have its file's name, or be inherited."""
    named = named_at(request) if request.view is not None else None
    if named is None or request.view is None:
        return None
    slots = (slot for slot in request.view.outline.slots if slot.text == named.name)
    return named if any(_given(slot) == named.kind for slot in slots) else None


def is_name(text: str) -> bool:
    """Whether a text may be the name of any of these things."""
    return re.search(IDENTIFIER, text) is not None

"""Templates and expressions inside of a manifest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.lsp.outline import Slot, read_outline
from engine.lsp.template_context import TemplateCursor, expression_cursor, template_cursor
from engine.lsp.things import EXPRESSIONS, thing_at
from engine.manifest import JsonPath

TEMPLATES = (("prompts", "system", "text"), ("prompts", "user", "text"))
"""The values that are templates."""


@dataclass(frozen=True, slots=True)
class Inline:
    """A template or an expression of a manifest.

    Attributes:
        path: Its place.
        text: Its text, as it stands in the manifest.
        cursor: What the cursor is in; offsets are those of the manifest. None in a template's plain text.
        names: The names that an expression may use; None for a template, which may use all.
    """

    path: JsonPath
    text: str
    cursor: TemplateCursor | None
    names: tuple[str, ...] | None


def inline_at(text: str, offset: int) -> Inline | None:
    """Return the template or expression of a manifest that the cursor is in."""
    outline = read_outline(text)
    inside = [slot for slot in outline.slots if slot.role == "value" and slot.start <= offset <= slot.end]
    for slot in reversed(inside):
        if slot.path in TEMPLATES:
            body = text[slot.start : slot.end]
            moved = template_cursor(body, offset - slot.start)
            return Inline(slot.path, body, _moved(moved, slot.start) if moved else None, None)
        pattern = next((pattern for pattern in EXPRESSIONS if thing_at({pattern: ""}, slot.path) is not None), None)
        if pattern is not None:
            begin = _begin(text, slot)
            if offset < begin:
                return None
            cursor = expression_cursor(text[: slot.end], offset, begin)
            return Inline(slot.path, text[begin : slot.end], cursor, EXPRESSIONS[pattern])
    return None


def _begin(text: str, slot: Slot) -> int:
    """Return where an expression begins, behind the quote or the sign of a block."""
    found = re.compile(r"\s*(?:[|>][-+0-9]*[^\n]*\n|['\"])?").match(text, slot.start, slot.end)
    return found.end() if found else slot.start


def _moved(cursor: TemplateCursor, by: int) -> TemplateCursor:
    return TemplateCursor(cursor.want, cursor.owner, cursor.word, cursor.first + by, cursor.last + by, cursor.statement)

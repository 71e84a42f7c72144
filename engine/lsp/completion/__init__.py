"""Completion: what may stand where the cursor is, by kind of file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from engine.lsp.completion.choices import Choice
from engine.lsp.completion.document import case_choices, manifest_choices, settings_choices
from engine.lsp.completion.script import script_choices
from engine.lsp.completion.template import template_choices
from engine.lsp.homes import FileKind
from engine.lsp.view import Request

__all__ = ["Choice", "complete"]

_BY_KIND: Mapping[FileKind, Callable[[Request], list[Choice]]] = {
    "manifest": manifest_choices,
    "cases": case_choices,
    "settings": settings_choices,
    "template": template_choices,
    "script": script_choices,
}


def complete(request: Request) -> list[Choice]:
    """Return what may stand at a place, the most likely first."""
    choices = _BY_KIND.get(request.kind)
    return choices(request) if choices is not None else []

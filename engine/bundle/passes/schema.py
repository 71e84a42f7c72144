"""Schema: unknown and missing keys, wrong types, values out of range."""

from __future__ import annotations

from engine.bundle.draft import Draft
from engine.diagnostics import Diagnostic
from engine.manifest import read_manifest


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings; fills in the draft's typed manifest."""
    assert draft.document is not None  # noqa: S101
    draft.typed = read_manifest(draft.document)
    return [finding for finding in draft.typed.diagnostics if finding not in draft.document.diagnostics]

"""Schema: unknown and missing keys, wrong types, values out of range."""

from __future__ import annotations

from engine.bundle.draft import Draft
from engine.diagnostics import Diagnostic
from engine.manifest import read_manifest, read_manifest_alone


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings; fills in the draft's typed manifest."""
    assert draft.document is not None  # noqa: S101
    read = read_manifest_alone if draft.source.broken else read_manifest
    draft.typed = read(draft.document)
    return [finding for finding in draft.typed.diagnostics if finding not in draft.document.diagnostics]

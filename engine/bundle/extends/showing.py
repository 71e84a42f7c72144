"""What `engine show-bundle` shows: a manifest as written, or as it is in force, and where each value comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.bundle.draft import Draft
from engine.bundle.extends.resolved import Resolved, as_written, resolve
from engine.bundle.extends.writing import to_yaml
from engine.bundle.load import read_source
from engine.bundle.passes import layout, schema
from engine.diagnostics import Diagnostic, Span
from engine.manifest import dotted


@dataclass(frozen=True, slots=True)
class Shown:
    """A manifest to look at.

    Attributes:
        diagnostics: What is wrong with it, sorted; scripts, templates and references are not looked at.
        text: The manifest as YAML; empty when it cannot be read.
        manifest: The manifest as plain data.
        origin: For each dotted path its file, line and column, or `default`.
    """

    diagnostics: tuple[Diagnostic, ...]
    text: str = ""
    manifest: Mapping[str, Any] | None = None
    origin: Mapping[str, Mapping[str, str | int] | str] | None = None


def show_manifest(place: str | Path, *, resolved: bool = False, origins: bool = False) -> Shown:
    """Read a bundle's manifest.

    Args:
        place: The bundle's folder, its manifest, or a zip of it.
        resolved: With what it inherits and all defaults, instead of as it is written.
        origins: Whether the text says where each value comes from.

    Raises:
        BundleError: There is nothing at the place.
    """
    draft = Draft(read_source(place))
    found = layout.run(draft)
    document = draft.document
    if document is None or not document.usable:
        return Shown(_sorted(found))
    found += schema.run(draft)
    if not resolved or draft.source.broken or draft.typed is None:
        kept = as_written(document)
        return Shown(_sorted(found), document.written.text, kept.data, _places(kept))
    kept = resolve(document, draft.typed)
    return Shown(_sorted(found), to_yaml(kept, origins=origins), kept.data, _places(kept))


def _sorted(found: list[Diagnostic]) -> tuple[Diagnostic, ...]:
    return tuple(sorted(dict.fromkeys(found), key=lambda item: item.sort_key))


def _places(kept: Resolved) -> dict[str, Mapping[str, str | int] | str]:
    return {dotted(path): _place(origin) for path, origin in kept.origins.items()}


def _place(origin: Span | str) -> Mapping[str, str | int] | str:
    if isinstance(origin, str):
        return origin
    return {"file": origin.file, "line": origin.line, "column": origin.column}

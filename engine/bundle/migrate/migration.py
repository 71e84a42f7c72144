"""Migrations: planned as values, so that nothing is written before everything is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from engine.bundle.migrate.comments import Comments, comments_of
from engine.bundle.migrate.conversion import Conversion
from engine.bundle.migrate.convert import convert
from engine.bundle.migrate.emit import emit
from engine.bundle.migrate.finding import Found, is_subagent_file
from engine.bundle.migrate.moving import moved_comments
from engine.bundle.migrate.notes import Note
from engine.bundle.migrate.old import Old
from engine.bundle.source import MANIFESTS, BundleSource, Entry, read_folder
from engine.diagnostics import Diagnostic
from engine.manifest import Document, decode, read_yaml
from engine.manifest.older import Shape, older_shape
from engine.manifest.reader import MAX_BYTES

Status = Literal["migrated", "current", "unusable"]
# What a reading may find that does not keep a manifest from being understood: YAML 1.1 is what it was read with.
_HARMLESS = frozenset({"Y004", "S005"})


@dataclass(frozen=True, slots=True)
class Migration:
    """What becomes of one manifest.

    Attributes:
        manifest: The old manifest's path, as the user would type it.
        target: The bundle's folder, as the user would type it.
        status: `migrated`: it is converted. `current`: there is nothing to do. `unusable`: it cannot be.
        shape: Which of the earlier shapes it has; None unless it is converted.
        marks: The keys that show the shape.
        notes: What is not carried over, and what was assumed.
        files: The bundle's new files, the manifest among them, by posix path.
        diagnostics: Every finding of the converted bundle; for an unusable manifest those of its reading.
        problem: Why it is unusable, or current; None when it is converted.
        found: Where it was found.
        source: The files of the old bundle; None unless it is converted.
        before: The old manifest's bytes.
    """

    manifest: str
    target: str
    status: Status
    found: Found
    shape: Shape | None = None
    marks: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    files: Mapping[str, bytes] = field(default_factory=dict)
    diagnostics: tuple[Diagnostic, ...] = ()
    problem: str | None = None
    source: BundleSource | None = None
    before: bytes = b""

    @property
    def name(self) -> str:
        """The name of the new manifest's file; that of the old one where bundles have it."""
        return self.found.manifest.name if self.found.manifest.name in MANIFESTS else MANIFESTS[0]

    @property
    def errors(self) -> int:
        """Number of errors that the converted bundle has."""
        return sum(item.severity == "error" for item in self.diagnostics)


def plan(found: Found, target: Path | None, name: str | None = None) -> Migration:
    """Return what becomes of a manifest; nothing is written.

    Args:
        found: The manifest.
        target: The folder for the bundle; None converts it in its place.
        name: The bundle's name, instead of its own.
    """
    shown = (target or found.folder).as_posix()
    blank = Migration(found.shown, shown, "unusable", found)
    if found.problem and target is None:
        return replace(blank, problem=found.problem)
    try:
        with found.manifest.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        return replace(blank, problem=f"it cannot be read: {error.strerror or error}")
    text, problems = decode(raw, found.shown)
    document = read_yaml(text, found.shown) if text is not None else None
    findings = tuple(problems) + (document.diagnostics if document else ())
    if document is None or not document.usable or any(item.code not in _HARMLESS for item in findings):
        return replace(blank, diagnostics=findings, problem="it cannot be read")
    return _recognised(replace(blank, before=raw), document, name)


def _recognised(blank: Migration, document: Document, name: str | None) -> Migration:
    shape = older_shape(document.data)
    if shape is None and is_subagent_file(blank.found.manifest.name) and "format" not in document.data:
        shape = ("subagent", ("the file's name",))
    if shape is not None:
        return _converted(replace(blank, shape=shape[0], marks=shape[1]), document, name)
    if "format" in document.data:
        return replace(blank, status="current", problem="it has a format already")
    if "prompts" in document.data and "description" in document.data:
        lacks = "it is of the present format but for the line format: 1, which engine validate --fix adds"
        return replace(blank, status="current", problem=lacks)
    keys = ", ".join(list(document.data)[:8]) or "none"
    return replace(blank, problem=f"it has none of the shapes that manifests have had; its keys: {keys}")


def _converted(blank: Migration, document: Document, name: str | None) -> Migration:
    found = blank.found
    source = read_folder(found.folder, found.folder.as_posix())
    old = Old(document)
    assert blank.shape is not None  # noqa: S101 - the caller's condition
    conversion = Conversion(old, blank.shape, source, found.folder)
    convert(conversion, name)
    comments = moved_comments(comments_of(document.text), conversion.origins, conversion.new)
    text = _emitted(conversion.new, comments)
    files = {**conversion.files, blank.name: text.encode()}
    return replace(
        blank,
        status="migrated",
        notes=tuple(sorted(set(old.notes))),
        files=files,
        diagnostics=_validated(source, found.manifest.name, files, blank.target),
        source=source,
    )


def _emitted(data: Mapping[str, Any], comments: Comments) -> str:
    text = emit(data, comments)
    if read_yaml(text, "bundle.yaml").data != data:
        raise AssertionError("the manifest does not read as it was written")
    return text


def _validated(source: BundleSource, manifest: str, files: Mapping[str, bytes], target: str) -> tuple[Diagnostic, ...]:
    from engine.bundle.check import check_bundles

    kept = {name: entry for name, entry in source.files.items() if name != manifest}
    fresh = {name: Entry(content, len(content)) for name, content in files.items()}
    gone = {manifest, *files}
    shown = {source.show(name) for name in gone}
    result = replace(
        source,
        outside={name: leads for name, leads in source.outside.items() if name not in gone},
        findings=tuple(item for item in source.findings if item.span.file not in shown),
    )
    result = replace(result, shown=target, document=None, files=dict(sorted({**kept, **fresh}.items())))
    return check_bundles([result], compiled=True)[0].diagnostics

"""Follows `extends` from bundle to bundle, and lays a bundle's files over those of its parents."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from engine.bundle.archive import part_of_zip, read_own_zip
from engine.bundle.extends.missing import bad_path, missing_parent
from engine.bundle.source import MANIFESTS, BundleSource, Entry, read_own
from engine.diagnostics import Diagnostic, Span, printable

MAX_PARENTS = 8


@dataclass(frozen=True, slots=True)
class _Step:
    """One bundle of a chain: as it was read, and the parent that it names.

    Attributes:
        own: The bundle without parents, its document read.
        target: What `extends` says; None when it names nothing that could be a path.
        problem: Why the parent cannot be looked for, or is not there.
        waiting: The folder that is not there.
    """

    own: BundleSource
    target: str | None = None
    problem: Diagnostic | None = None
    waiting: Path | None = None


class Parents:
    """The bundles that others build on, each read once.

    Args:
        shown: The paths of bundles as the user typed them, by real path; other parents are named as seen from the
            bundle that builds on them.
        given: Folders that were read already, such as with the texts of an editor in them; without their own parents.
    """

    def __init__(self, shown: Mapping[str, str] | None = None, given: Iterable[BundleSource] = ()) -> None:
        self._shown = shown or {}
        self._own: dict[str, BundleSource] = {identity(source): source for source in given}
        self._linked: dict[str, BundleSource] = {}

    def link(self, own: BundleSource) -> BundleSource:
        """Return a bundle on its parents; with a finding, and `broken`, when it cannot be built on them."""
        step = self._step(own)
        if step.target is None and step.problem is None:
            return step.own
        return self._link(step)

    def _link(self, step: _Step) -> BundleSource:
        chain, problem = self._chain(step)
        if problem is None:
            parent = self._parent(chain[1])
            reason = _unusable(parent)
            if reason is None:
                return overlay(step.own, parent)
            chain = [chain[0], *(parent.own or parent for parent in (parent, *parent.parents))]
            message = f"the bundle '{printable(step.target or '')}' cannot be built on: {reason}"
            problem = Diagnostic("X004", message, extends_span(step.own), f"mend {parent.shown} first")
            return _broken(step, [problem, *parent.findings, *_reading(parent)], chain, parent.waiting)
        return _broken(step, [problem], chain, (step.waiting,) if step.waiting else ())

    def _parent(self, own: BundleSource) -> BundleSource:
        key = identity(own)
        if key not in self._linked:
            self._linked[key] = self.link(own)
        return self._linked[key]

    def _chain(self, step: _Step) -> tuple[list[BundleSource], Diagnostic | None]:
        """Return the bundles from this one up as far as they can be followed, and why not further."""
        first, chain, seen = step, [step.own], [identity(step.own)]
        while step.target is not None:
            own = self._read(step.own, step.target)
            chain.append(own)
            if identity(own) in seen:
                shown = " → ".join(source.shown for source in chain)
                message = f"the bundle builds on itself: {shown}"
                return chain[:-1], Diagnostic("X002", message, extends_span(first.own), "remove one of the 'extends'")
            if len(chain) > MAX_PARENTS + 1:
                message = f"the bundle has more than {MAX_PARENTS} bundles above it, the last of them {own.shown}"
                return chain, Diagnostic("X003", message, extends_span(first.own), "build on a bundle higher up")
            seen.append(identity(own))
            step = self._step(own)
        return chain, step.problem if step is first else None

    def _step(self, own: BundleSource) -> _Step:
        """Read a bundle's manifest for the parent that it names, and look whether that is there."""
        own = _with_document(own)
        document = own.document
        target = document.data.get("extends") if document is not None and document.usable else None
        if not isinstance(target, str) or not target or document is None or ("extends",) in document.tainted:
            return _Step(own)  # of another type: the schema says so
        problem = bad_path(own, target, extends_span(own))
        if problem is not None:
            return _Step(own, problem=problem)
        place = place_of(own, target)
        problem = missing_parent(own, target, place, self._whole(own), extends_span(own))
        if problem is not None:
            return _Step(own, None, problem, None if own.zipped else place)
        return _Step(own, target)

    def _whole(self, own: BundleSource) -> BundleSource | None:
        """Return the whole zip that a bundle lies in."""
        if not own.zipped:
            return None
        return own if not own.inside else self._own[os.path.realpath(own.root)]

    def _read(self, child: BundleSource, target: str) -> BundleSource:
        place, whole = place_of(child, target), self._whole(child)
        if whole is not None:
            self._own.setdefault(os.path.realpath(whole.root), whole)
            inside = posixpath.normpath(posixpath.join(child.inside, target))
            return part_of_zip(whole, inside) if inside != "." else whole
        key = os.path.realpath(place)
        if key not in self._own:
            shown = self._shown.get(key) or _shown(child, target, place)
            read = read_own_zip if place.is_file() else read_own
            self._own[key] = read(Path(key), shown)
        return self._own[key]


def relink(edited: BundleSource, before: BundleSource) -> BundleSource:
    """Return a source that was edited on the parents that it had; on others where its `extends` has changed."""
    edited = _with_document(edited)
    assert edited.document is not None  # noqa: S101 - it names a parent
    if before.own is not None and not before.broken and before.document is not None:
        named = before.document.written.data.get("extends")
        if edited.document.data.get("extends") == named:
            return overlay(edited, before.parents[0])
    return Parents().link(edited)


def overlay(own: BundleSource, parent: BundleSource) -> BundleSource:
    """Return a bundle with its parent's files under its own, and its manifest merged over the parent's."""
    from engine.bundle.extends.merging import merge

    own, parent = _with_document(own), _with_document(parent)
    assert own.document is not None  # noqa: S101
    assert parent.document is not None  # noqa: S101
    taken = _inherited(own, parent)
    files: dict[str, Entry] = {**{name: parent.files[name] for name in taken}, **own.files}
    return replace(
        own,
        files=dict(sorted(files.items())),
        folders=own.folders | {name for name in parent.folders if not _hidden(name, own)},
        outside={**{name: link for name, link in parent.outside.items() if not _hidden(name, own)}, **own.outside},
        findings=tuple(dict.fromkeys((*own.findings, *parent.findings))),
        parents=(parent, *parent.parents),
        inherited={name: parent.inherited.get(name, parent.own or parent) for name in taken},
        document=merge(parent.document, own.document),
        own=own,
    )


def _inherited(own: BundleSource, parent: BundleSource) -> list[str]:
    return [
        name
        for name in parent.files
        if name not in own.files and name not in own.folders and name not in MANIFESTS and not _hidden(name, own)
    ]


def _hidden(name: str, own: BundleSource) -> bool:
    """Whether a file or a link of the bundle stands where an inherited path goes through."""
    steps = name.split("/")
    above = ("/".join(steps[: count + 1]) for count in range(len(steps)))
    return any(step in own.outside or step in own.files for step in above)


def extends_span(own: BundleSource) -> Span:
    """Return where a manifest says what it builds on."""
    document = own.document
    return document.written.positions.value(("extends",)) if document is not None else Span(own.shown)


def place_of(child: BundleSource, target: str) -> Path:
    """Return the path that `extends` names, symlinks of the child's folder resolved as by the system."""
    return child.root.parent / target if child.zipped else child.root / target


def identity(own: BundleSource) -> str:
    """Return what tells bundles apart, however they are named."""
    real = os.path.realpath(own.root)
    return f"{real}//{own.inside}" if own.inside else real


def _shown(child: BundleSource, target: str, place: Path) -> str:
    """Return a parent's path as seen from the child; shortened where that names the same folder."""
    shown = posixpath.join(child.shown, target)
    short = posixpath.normpath(shown)
    return short if os.path.realpath(os.path.normpath(place)) == os.path.realpath(place) else shown


def _with_document(own: BundleSource) -> BundleSource:
    if own.document is not None or own.manifest is None:
        return own
    # Here, not above: a bundle that builds on none, and has not changed, is validated without reading its manifest.
    from engine.manifest import read_yaml, with_repairs

    text, problems = own.text(own.manifest)
    document = read_yaml(text or "", own.show(own.manifest))
    if text is None:
        document = replace(document, diagnostics=tuple(problems))
    elif document.diagnostics:
        document = with_repairs(document, "bundle")
    return replace(own, document=document)


def _unusable(parent: BundleSource) -> str | None:
    """Say why a bundle cannot be built on."""
    document = parent.document
    if parent.broken:
        return "it cannot be built on its own parent"
    if document is None or not document.usable:
        return "its manifest cannot be read"
    written = document.written.data.get("format", 1)
    return None if written == 1 and not isinstance(written, bool) else "its manifest is of another format"


def _reading(parent: BundleSource) -> tuple[Diagnostic, ...]:
    return parent.document.diagnostics if parent.document is not None else ()


def _broken(
    step: _Step, problems: list[Diagnostic], chain: list[BundleSource], waiting: tuple[Path, ...]
) -> BundleSource:
    findings = tuple(dict.fromkeys((*step.own.findings, *problems)))
    return replace(step.own, findings=findings, parents=tuple(chain[1:]), broken=True, waiting=waiting, own=step.own)

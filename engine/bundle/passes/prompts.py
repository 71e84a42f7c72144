"""Prompts: template syntax, undefined variables, includes."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.bundle.draft import Draft
from engine.bundle.source import BundleSource
from engine.diagnostics import Diagnostic, Span
from engine.manifest import Document, JsonPath
from engine.manifest.bundle_model import InlineText, Manifest

if TYPE_CHECKING:
    from engine.prompts import Layers

_BINARY = (".gguf", ".safetensors", ".bin", ".pt", ".zip", ".png", ".jpg")


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings; fills in the draft's templates."""
    from engine.prompts import Templates

    sources = template_sources(draft.source, draft.manifest)
    layers = add_layers(sources, draft.source) if draft.source.parents else None
    draft.templates = Templates(sources, draft.source.shown, layers=layers)
    scope, findings = draft.scope(), []
    for part in ("system", "user"):
        spec = getattr(draft.manifest.prompts, part)
        if spec is None or not draft.sound("prompts", part):
            continue
        name = template_name(part, spec)
        if name in draft.templates.sources:
            found = draft.templates.check(name, scope)
            inline = isinstance(spec, InlineText) and draft.document is not None
            findings += [_moved(draft, item, ("prompts", part, "text"), name) if inline else item for item in found]
    return findings


def template_name(part: str, spec: str | InlineText) -> str:
    """Return the name that a prompt has among the bundle's templates."""
    import posixpath

    return f"bundle.yaml#prompts.{part}" if isinstance(spec, InlineText) else posixpath.normpath(spec)


def is_template(name: str) -> bool:
    """Whether a file can be text that a template includes."""
    return not name.endswith(_BINARY)


def template_sources(source: BundleSource, manifest: Manifest) -> dict[str, str]:
    """Return the text of every file that a template may include, and of the inline prompts."""
    texts = {}
    for name in filter(is_template, source.files):
        text, _ = source.text(name)
        if text is not None:
            texts[name] = text
    for part in ("system", "user"):
        spec = getattr(manifest.prompts, part)
        if isinstance(spec, InlineText):
            texts[template_name(part, spec)] = spec.text
    return texts


def add_layers(sources: dict[str, str], source: BundleSource) -> Layers:
    """Add the templates of the parents by their `@parent/` names, and return where all inherited ones lie."""
    from engine.prompts import PARENT, Layers

    bundles = (source, *source.parents)
    levels = {id(bundle.own or bundle): level for level, bundle in enumerate(bundles)}
    owners = {name: owner for name, owner in source.inherited.items() if name in sources}
    if any(PARENT in text for text in sources.values()):
        for level, parent in enumerate(source.parents, 1):
            for name in filter(is_template, parent.files):
                text, _ = parent.text(name)
                if text is not None:
                    sources[PARENT * level + name] = text
                    owners[PARENT * level + name] = parent.inherited.get(name, parent.own or parent)
    files = {name: owner.show(name.rpartition(PARENT)[2]) for name, owner in owners.items()}
    found = {name: levels[id(owner)] for name, owner in owners.items()}
    return Layers({**_inline_levels(source), **found}, files, len(source.parents))


def _inline_levels(source: BundleSource) -> dict[str, int]:
    """Return how many bundles up each inline prompt is written."""
    document, levels = source.document, {}
    for part in ("system", "user") if document is not None else ():
        assert document is not None  # noqa: S101
        file = document.positions.value(("prompts", part, "text")).file
        found = next((level for level, item in enumerate(document.parts) if item.file == file), 0)
        levels[f"bundle.yaml#prompts.{part}"] = found
    return levels


def _moved(draft: Draft, finding: Diagnostic, path: JsonPath, name: str) -> Diagnostic:
    """Move a finding of an inline template to its place in the manifest."""
    assert draft.document is not None  # noqa: S101
    assert draft.templates is not None  # noqa: S101
    if finding.span.file != draft.templates.file(name):
        return finding
    return replace(finding, span=inline_span(draft.document, path, finding.span))


def inline_span(document: Document, path: JsonPath, inner: Span) -> Span:
    """Return where a place inside a text value stands in the document; exact for literal blocks (`|`)."""
    outer = document.positions.value(path)
    lines = document.part(outer.file).text.splitlines()
    header = lines[outer.line - 1][outer.column - 1 :] if outer.line <= len(lines) else ""
    if not re.match(r"\|[-+0-9]*\s*(#.*)?$", header):
        return outer
    body = lines[outer.line :]
    indent = next((len(line) - len(line.lstrip(" ")) for line in body if line.strip()), 0)
    return Span(
        outer.file,
        outer.line + inner.line,
        indent + inner.column,
        outer.line + inner.end_line,
        indent + inner.end_column,
    )

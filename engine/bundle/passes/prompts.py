"""Prompts: template syntax, undefined variables, includes."""

from __future__ import annotations

import re
from dataclasses import replace

from engine.bundle.draft import Draft
from engine.bundle.source import BundleSource
from engine.diagnostics import Diagnostic, Span
from engine.manifest import Document, JsonPath
from engine.manifest.bundle_model import InlineText, Manifest

_BINARY = (".gguf", ".safetensors", ".bin", ".pt", ".zip", ".png", ".jpg")


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings; fills in the draft's templates."""
    from engine.prompts import Templates

    draft.templates = Templates(template_sources(draft.source, draft.manifest), draft.source.shown)
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


def template_sources(source: BundleSource, manifest: Manifest) -> dict[str, str]:
    """Return the text of every file that a template may include, and of the inline prompts."""
    texts = {}
    for name in source.files:
        if not name.endswith(_BINARY):
            text, _ = source.text(name)
            if text is not None:
                texts[name] = text
    for part in ("system", "user"):
        spec = getattr(manifest.prompts, part)
        if isinstance(spec, InlineText):
            texts[template_name(part, spec)] = spec.text
    return texts


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
    lines = document.text.splitlines()
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

"""From a folder or zip to a Bundle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.bundle.adapters import resolve_adapters
from engine.bundle.archive import read_zip
from engine.bundle.bundle import Bundle, BundleContext, BundleTool
from engine.bundle.cases import is_case_file
from engine.bundle.check import Checked, check_bundles
from engine.bundle.draft import Draft
from engine.bundle.passes.prompts import template_name
from engine.bundle.recordings import is_recording
from engine.bundle.source import MANIFESTS, BundleSource, Entry, read_folder
from engine.diagnostics import Diagnostic, Span, render
from engine.errors import BundleError, ConfigError
from engine.grammar.argument_check import ArgumentChecker
from engine.models.base import Adapter


def load_bundle(source: str | Path) -> Bundle:
    """Load a bundle.

    Args:
        source: Its folder, its manifest, or a zip of it.

    Raises:
        BundleError: It has errors; `diagnostics` holds every finding, warnings included.
        ConfigError: The source is of a kind that cannot be loaded.
    """
    return bundle_of(check_bundles([read_source(source)])[0])


def bundle_of(checked: Checked) -> Bundle:
    """Freeze a bundle that was checked.

    Raises:
        BundleError: It has errors.
    """
    draft = checked.draft
    if not checked.valid:
        errors = [item for item in checked.diagnostics if item.severity == "error"]
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        shown = render(errors, "concise").rstrip()
        raise BundleError(f"the bundle {draft.source.shown} has {count}:\n{shown}", checked.diagnostics)
    return _freeze(draft)


def read_source(source: str | Path) -> BundleSource:
    """Read the files of a bundle, and of those that it builds on.

    Args:
        source: Its folder, its manifest, or a zip of it.

    Raises:
        BundleError: There is nothing there.
        ConfigError: The source is of a kind that cannot be loaded.
    """
    text = str(source)
    if text.startswith("git+") or "://" in text:
        raise ConfigError(f"{text}: bundles are loaded from folders and zip files; clone the repository first")
    path = Path(source)
    if path.is_file() and path.name in MANIFESTS:
        path = path.parent
    elif path.is_file():
        return read_zip(path)
    if not path.exists():
        shown = path.as_posix()
        finding = Diagnostic("L001", f"{shown} does not exist", Span(shown), "name a folder with a bundle.yaml")
        raise BundleError(f"{shown} does not exist: name a folder with a bundle.yaml", [finding])
    return read_folder(path)


def _freeze(draft: Draft) -> Bundle:
    manifest = draft.manifest
    prompts = manifest.prompts
    assert draft.templates is not None  # noqa: S101 - the prompts pass ran: there are no errors
    by_name = {schema.name: schema for schema in draft.schemas}
    tools, context = [], []
    for use in draft.uses:
        assert use.script is not None  # noqa: S101 - a script that is missing or broken is an error
        if use.spec is not None:
            schema = by_name[use.name]
            tools.append(BundleTool(use.spec, use.script, schema, ArgumentChecker(schema.parameters)))
    providers = {use.name: use.script for use in draft.uses if use.spec is None}
    for item in manifest.context:
        script = providers[item.name]
        assert script is not None  # noqa: S101 - see above
        context.append(BundleContext(item, script))
    adapters = resolve_adapters(draft.source, manifest.adapters)
    return Bundle(
        manifest,
        draft.source.root,
        _digest(draft.source, adapters, manifest.tests),
        draft.templates,
        tuple(tools),
        tuple(context),
        adapters,
        (template_name("system", prompts.system) if prompts.system else None, template_name("user", prompts.user)),
        _custom(draft),
        draft.text(manifest.nodes.query) if manifest.nodes.query else None,
        tuple(draft.cases),
    )


def _custom(draft: Draft) -> str | Mapping[str, Any] | None:
    file = draft.manifest.grammar.file
    if file is None:
        return None
    text = draft.text(file)
    if file.endswith(".json") and text is not None:
        tag: Mapping[str, Any] = json.loads(text)
        return tag
    return text


def _digest(source: BundleSource, adapters: Mapping[str, Adapter], tests: str | None) -> str:
    """Hash what the bundle does: all its text but the cases that test it and their recordings, and its adapters."""
    total = hashlib.sha256()
    for prefix, files in _layers(source):
        for name, entry in sorted(files.items()):
            if entry.content is not None and not is_case_file(name, tests) and not is_recording(name, tests):
                part = hashlib.sha256(entry.content).hexdigest()
                total.update(f"{prefix}{name}\0{part}\n".encode("utf-8", "surrogateescape"))
    for name, adapter in sorted(adapters.items()):
        total.update(f"{name}\0{adapter.digest}\n".encode())
    return total.hexdigest()


def _layers(source: BundleSource) -> Iterator[tuple[str, Mapping[str, Entry]]]:
    """Yield the files of the bundle, and those of its parents: their manifests and what is shadowed count too."""
    yield "", (source.own or source).files
    for level, parent in enumerate(source.parents, 1):
        yield "@parent/" * level, (parent.own or parent).files

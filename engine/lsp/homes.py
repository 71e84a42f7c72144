"""Which bundles a file belongs to, and what kind of file it is there."""

from __future__ import annotations

import posixpath
from collections.abc import Container
from pathlib import Path, PurePosixPath
from typing import Literal

from engine.bundle.source import MANIFESTS, SKIPPED
from engine.manifest import Manifest

FileKind = Literal["manifest", "template", "script", "cases", "settings", "other"]

SETTINGS = ("engine.yaml", "engine.yml")
TEMPLATES = (".j2", ".jinja", ".jinja2")
SCRIPTS = (".pym",)
_CASES = "tests/*.yaml"


def homes(path: Path, opened: Container[Path]) -> list[Path]:
    """Return the folders of the bundles that a file belongs to, the nearest first.

    Args:
        path: The file, absolute; it need not exist.
        opened: The files that are open in the editor: a manifest may not have been saved yet.
    """
    found = []
    below: list[str] = []
    for folder in path.parents:
        if not SKIPPED.intersection(below) and _has_manifest(folder, opened):
            found.append(folder)
        below.append(folder.name)
    return found


def _has_manifest(folder: Path, opened: Container[Path]) -> bool:
    return any((folder / name) in opened or _is_file(folder / name) for name in MANIFESTS)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def kind_of(name: str, manifest: Manifest | None) -> FileKind:
    """Return the kind of a file.

    Args:
        name: Its posix path in the bundle; the bare name for a file outside of bundles.
        manifest: The bundle's manifest, as far as it is known: it may name templates and cases that look otherwise.
    """
    if name in MANIFESTS:
        return "manifest"
    if posixpath.basename(name) in SETTINGS:
        return "settings"
    if name.endswith(SCRIPTS):
        return "script"
    if name.endswith(TEMPLATES) or (manifest is not None and name in _prompts(manifest)):
        return "template"
    pattern = manifest.tests if manifest is not None and manifest.tests else _CASES
    return "cases" if PurePosixPath(name).match(posixpath.normpath(pattern)) else "other"


def _prompts(manifest: Manifest) -> set[str]:
    specs = (manifest.prompts.system, manifest.prompts.user)
    return {posixpath.normpath(spec) for spec in specs if isinstance(spec, str)}

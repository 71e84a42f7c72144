"""What is wrong with the path of a parent."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path

from engine.bundle.source import MANIFESTS, BundleSource
from engine.diagnostics import Diagnostic, Span, did_you_mean, printable


def bad_path(own: BundleSource, target: str, span: Span) -> Diagnostic | None:
    """Return X006 for a path that cannot name a parent."""
    if target.startswith(("/", "~")) or target[1:2] == ":":
        problem, way_out = "is absolute", "write it relative to the bundle's folder, such as ../base"
    elif "\\" in target:
        problem, way_out = "uses \\ instead of /", "write it with /"
    elif "\0" in target:
        problem, way_out = "holds a NUL byte", "write it relative to the bundle's folder, such as ../base"
    elif own.zipped and posixpath.normpath(posixpath.join(own.inside, target)).split("/")[0] == "..":
        problem, way_out = "leaves the zip", "pack both bundles into one zip"
    else:
        return None
    return Diagnostic("X006", f"the path '{printable(target)}' of the bundle to build on {problem}", span, way_out)


def missing_parent(
    own: BundleSource, target: str, place: Path, whole: BundleSource | None, span: Span
) -> Diagnostic | None:
    """Return X001 when there is no bundle at a path.

    Args:
        own: The bundle that names it.
        target: The path as written.
        place: The path on disk.
        whole: The zip that the bundle lies in.
        span: Where the path is written.
    """
    try:
        problem = _problem(target, place) if whole is None else _problem_in_zip(own, target, whole)
        if problem is None:
            return None
        names = _siblings(place) if whole is None else _siblings_in_zip(own, target, whole)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        return Diagnostic(
            "X001", f"the bundle '{printable(target)}' cannot be read: {reason}", span, "mend its permissions"
        )
    above, name = posixpath.split(target.rstrip("/"))
    hint = did_you_mean(name, names)
    if hint is not None and above:
        hint = hint.replace("did you mean '", f"did you mean '{printable(above)}/")
    message = f"the bundle '{printable(target)}' {problem}" + (f": {hint}" if hint else "")
    return Diagnostic("X001", message, span, "name the folder of a bundle, relative to this one's")


def _problem(target: str, place: Path) -> str | None:
    if place.is_file():
        if place.suffix.lower() == ".zip":
            return None
        folder = printable(posixpath.dirname(target)) or "."
        return f"is a file: name its folder, '{folder}'" if place.name in MANIFESTS else "is a file"
    if not place.is_dir():
        return "does not exist"
    return None if any((place / name).is_file() for name in MANIFESTS) else "has no bundle.yaml"


def _siblings(place: Path) -> list[str]:
    """Return the names of the bundles in the folder that the parent would be in."""
    above = Path(os.path.normpath(place)).parent
    if not above.is_dir():
        return []
    places = (folder / manifest for folder in above.iterdir() for manifest in MANIFESTS)
    return sorted({place.parent.name for place in places if os.access(place, os.R_OK)})


def _problem_in_zip(own: BundleSource, target: str, whole: BundleSource) -> str | None:
    inside = posixpath.normpath(posixpath.join(own.inside, target))
    if inside == ".":
        return None if whole.manifest else "has no bundle.yaml"
    if inside in whole.files:
        return "is a file"
    if inside not in whole.folders:
        return "does not exist in the zip"
    return None if _has_manifest(whole.files, inside) else "has no bundle.yaml"


def _siblings_in_zip(own: BundleSource, target: str, whole: BundleSource) -> list[str]:
    above = posixpath.dirname(posixpath.normpath(posixpath.join(own.inside, target)))
    folders = (folder for folder in whole.folders if posixpath.dirname(folder) == above)
    return sorted(posixpath.basename(folder) for folder in folders if _has_manifest(whole.files, folder))


def _has_manifest(files: Iterable[str], folder: str) -> bool:
    return any(f"{folder}/{name}" in files for name in MANIFESTS)

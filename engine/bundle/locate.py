"""Finds bundles below paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.bundle.archive import read_zip
from engine.bundle.source import MANIFESTS, SKIPPED, BundleSource, read_folder
from engine.diagnostics import Diagnostic, Span

if TYPE_CHECKING:
    from engine.bundle.extends import Parents


@dataclass(frozen=True, slots=True)
class Location:
    """A bundle that was found, or the finding in its place.

    Attributes:
        shown: The path as the user would type it.
        path: The folder or zip file.
        finding: Why there is no bundle; None when there is one.
    """

    shown: str
    path: Path
    finding: Diagnostic | None = None

    def read(self, parents: Parents | None = None) -> BundleSource:
        """Read its files, and those of the bundles that it builds on.

        Args:
            parents: The parents that were read already; shared by bundles that are read together.
        """
        read = read_zip if self.path.is_file() else read_folder
        return read(self.path, self.shown, parents)


def read_all(locations: Iterable[Location]) -> list[BundleSource]:
    """Read the bundles at these places, a parent of several once; findings in place of bundles are left out."""
    found = [location for location in locations if location.finding is None]
    parents = parents_of(found)
    return [location.read(parents) for location in found]


def parents_of(locations: Iterable[Location]) -> Parents:
    """Return a reader of parents that names those among the locations as the user did."""
    from engine.bundle.extends import Parents

    return Parents({_identity(location.path): location.shown for location in locations})


def locate(paths: Iterable[str | Path]) -> list[Location]:
    """Return every bundle below the paths: once each, in the order of the paths, then by name.

    A path that does not exist, cannot be read or holds no bundle gives a location with its finding.
    """
    found: dict[str, Location] = {}
    for path in paths:
        for location in _below(Path(path)):
            found.setdefault(_identity(location.path), location)
    return list(found.values())


def find_bundles(paths: Iterable[str | Path]) -> list[Path]:
    """Return the folders and zip files of the bundles below the paths."""
    return [location.path for location in locate(paths) if location.finding is None]


def _identity(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):
        return str(path)


def _below(path: Path) -> Iterator[Location]:
    shown = path.as_posix()
    try:
        if path.is_file() and path.name in MANIFESTS:
            yield Location(path.parent.as_posix(), path.parent)
        elif path.is_file() and path.suffix.lower() == ".zip":
            yield Location(shown, path)
        elif path.is_dir():
            yield from _walk(path, shown)
        else:
            exists = path.exists()
            message = "this is not a bundle: no folder, zip or bundle.yaml" if exists else f"{shown} does not exist"
            yield _missing(path, shown, message, "name a folder with a bundle.yaml")
    except (OSError, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error)
        yield _missing(path, shown.replace("\0", "\\0"), f"the path cannot be read: {problem}", "mend the path")


def _walk(path: Path, shown: str) -> Iterator[Location]:
    problems: list[OSError] = []
    empty = True
    for folder, below, files in os.walk(path, onerror=problems.append):
        below[:] = sorted(name for name in below if name not in SKIPPED)
        if any(name in MANIFESTS for name in files):
            empty = False
            yield Location(Path(folder).as_posix(), Path(folder))
    for error in problems:
        place = Path(str(error.filename)).as_posix()
        finding = Diagnostic(
            "L006", f"the folder cannot be read: {error.strerror}", Span(place), "mend its permissions"
        )
        yield Location(place, Path(place), finding)
    if empty and not problems:
        yield _missing(path, shown, "no bundle.yaml in this folder or below it", "engine new NAME makes a bundle")


def _missing(path: Path, shown: str, message: str, help_text: str) -> Location:
    return Location(shown, path, Diagnostic("L001", message, Span(shown), help_text))

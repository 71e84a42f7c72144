"""Which bundles build on which: an edit of one is an edit of all that build on it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from engine.bundle import find_bundles
from engine.bundle.source import MANIFESTS, MAX_TEXT
from engine.lsp.outline import read_outline


class Families:
    """The parents of all bundles below some folders, as their manifests name them."""

    def __init__(self) -> None:
        self._parents: dict[Path, Path] = {}

    def scan(self, roots: Iterable[Path]) -> None:
        """Look for bundles below folders and files; those that are gone are forgotten."""
        places = list(roots)
        gone = [
            folder
            for folder in self._parents
            if any(
                folder.is_relative_to(place) or (place.parent == folder and place.name in MANIFESTS) for place in places
            )
        ]
        for folder in gone:
            self._parents.pop(folder, None)
        for place in find_bundles(path for path in places if path.exists()):
            folder = Path(os.path.normpath(place))
            if folder.is_dir():
                self.note(folder, _manifest(folder))

    def note(self, folder: Path, manifest: str) -> None:
        """Take down what a bundle builds on."""
        slot = read_outline(manifest).value(("extends",)) if "extends" in manifest else None
        if slot is not None and slot.text:
            self._parents[folder] = Path(os.path.normpath(folder / slot.text))
        else:
            self._parents.pop(folder, None)

    def heirs(self, folder: Path) -> set[Path]:
        """Return the bundles that build on one, directly or not."""
        found: set[Path] = set()
        new = {folder}
        while new:
            new = {child for child, parent in self._parents.items() if parent in new} - found - {folder}
            found |= new
        return found


def _manifest(folder: Path) -> str:
    for name in MANIFESTS:
        try:
            with (folder / name).open("rb") as handle:
                return handle.read(MAX_TEXT).decode("utf-8", "replace")
        except OSError:
            continue
    return ""

"""Finds manifests of all generations below a path."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from engine.bundle.source import MANIFESTS, SKIPPED

_SUBAGENT = re.compile(r"(.+)_subagent\.ya?ml$")


@dataclass(frozen=True, slots=True)
class Found:
    """One manifest.

    Attributes:
        manifest: The file.
        folder: The bundle's folder.
        place: Its folder relative to the path that was searched; several subagent files of one folder each get one.
        problem: Why it cannot be converted in its place; None when it can.
    """

    manifest: Path
    folder: Path
    place: str
    problem: str | None = None

    @property
    def shown(self) -> str:
        """The manifest's path as the user would type it."""
        return self.manifest.as_posix()


def find_manifests(path: Path) -> list[Found]:
    """Return the manifests at or below a path, by path; none for a path that holds none.

    Raises:
        OSError, ValueError: The path cannot be read.
    """
    if not path.is_dir():
        path.stat()
        return [Found(path, path.parent, ".")]
    found: list[Found] = []
    for folder, below, files in os.walk(path):
        below[:] = sorted(name for name in below if name not in SKIPPED)
        place = Path(folder).relative_to(path).as_posix()
        found += _in_folder(Path(folder), place, sorted(files))
    return found


def _in_folder(folder: Path, place: str, files: list[str]) -> list[Found]:
    named = [name for name in MANIFESTS if name in files]
    if len(named) == 2:
        return [Found(folder / named[0], folder, place, "the folder has both bundle.yaml and bundle.yml: remove one")]
    if named:
        return [Found(folder / named[0], folder, place)]
    stems = {name: match[1] for name in files if (match := _SUBAGENT.match(name))}
    if len(stems) == 1:
        return [Found(folder / name, folder, place) for name in stems]
    why = "the folder has several subagent files, and a bundle is a folder of its own: use --to FOLDER"
    return [Found(folder / name, folder, f"{place}/{stem}", why) for name, stem in stems.items()]


def is_subagent_file(name: str) -> bool:
    """Whether a file has the name of the oldest manifests."""
    return _SUBAGENT.match(name) is not None

"""Which folders are watched: those of bundles, one by one, and those above them, which tell when they go or come."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.bundle.source import SKIPPED


@dataclass(frozen=True, slots=True)
class Places:
    """What to watch; all paths are absolute.

    Attributes:
        folders: Folders whose entries matter.
        above: Folders above those, of whose entries only `names` matter.
        names: The paths that lead to what is watched, whether they exist or not.
    """

    folders: frozenset[str]
    above: frozenset[str]
    names: frozenset[str]


def places(roots: Iterable[str | Path], files: Iterable[str | Path]) -> Places:
    """Return what to watch so that every change below some folders, and of some files, is seen.

    Args:
        roots: Folders, with all below them, and zip files; those that do not exist are waited for.
        files: Single files.
    """
    folders: set[str] = set()
    names: set[str] = set()
    for root in roots:
        names.update(_ways(root))
        real = os.path.realpath(root)
        if is_folder(real):
            _walk(real, folders)
        elif os.path.lexists(real):
            folders.update(_folder(real))
    for file in files:
        names.update(_ways(file))
        folders.update(_folder(os.path.realpath(file)))
    above = {str(Path(name).parent) for name in names} - folders
    return Places(frozenset(folders), frozenset(filter(_readable, above)), frozenset(names))


def is_folder(path: str | Path) -> bool:
    """Whether a path is a folder, as far as one may look."""
    try:
        return Path(path).is_dir()
    except OSError:
        return False


def _ways(path: str | Path) -> set[str]:
    """Return a path and all above it: as it was typed, and with its symlinks resolved."""
    found: set[str] = set()
    for way in (Path(os.path.normpath(Path(path).absolute())), Path(os.path.realpath(path))):
        found.update(map(str, (way, *way.parents)))
    return found


def _folder(path: str) -> list[str]:
    folder = str(Path(path).parent)
    return [folder] if _readable(folder) else []


def _readable(folder: str) -> bool:
    return is_folder(folder) and os.access(folder, os.R_OK | os.X_OK)


def _walk(folder: str, found: set[str]) -> None:
    """Add a folder and all below it; symlinks are not followed, for what they lead to inside is there by itself."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        if folder in found or not os.access(folder, os.R_OK):
            continue
        try:
            with os.scandir(folder) as entries:
                below = [entry.path for entry in entries if _is_followed(entry)]
        except OSError:
            continue
        found.add(folder)
        waiting += below


def _is_followed(entry: os.DirEntry[str]) -> bool:
    try:
        entry.name.encode()  # watchfiles takes no other names
        return entry.name not in SKIPPED and entry.is_dir(follow_symlinks=False)
    except (OSError, UnicodeEncodeError):
        return False

"""The walk over a project's own files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.files.ignore import IgnoreRules
from engine.files.paths import is_utf8


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a walk.

    Attributes:
        path: Posix path relative to the root.
        link: Whether it is a symbolic link (links are listed, never followed).
        stat: What `lstat` says about it.
    """

    path: str
    link: bool
    stat: os.stat_result


def walk(root: Path, rules: IgnoreRules, below: str = ".") -> Iterator[Entry]:
    """Yield the files below a folder in a stable order, without ignored ones.

    Folders that cannot be read are left out, and so are names that are not UTF-8; links to folders are listed as links
    are. Only regular files and links are yielded.

    Args:
        root: The project's root.
        rules: What is ignored; its paths are relative to the same root (or to a copy of it).
        below: The folder to walk, relative to the root.
    """
    pending = ["" if below == "." else below]
    while pending:
        folder = pending.pop()
        files, folders = _scan(root, folder, rules)
        yield from files
        pending.extend(reversed(folders))


def _scan(root: Path, folder: str, rules: IgnoreRules) -> tuple[list[Entry], list[str]]:
    """List one folder: its files, and the folders to go into."""
    files: list[Entry] = []
    folders: list[str] = []
    try:
        with os.scandir(root / folder) as items:
            found = sorted((item for item in items if is_utf8(item.name)), key=lambda item: item.name)
    except OSError:
        return [], []
    for item in found:
        path = f"{folder}/{item.name}" if folder else item.name
        entry = _entry(item, path)
        if entry is None and item.is_dir(follow_symlinks=False):
            if not rules.ignored(path, folder=True):
                folders.append(path)
        elif entry is not None and not rules.ignored(path, folder=False):
            files.append(entry)
    return files, folders


def _entry(item: os.DirEntry[str], path: str) -> Entry | None:
    """Return a file or link; None for folders, special files and what vanished meanwhile."""
    try:
        link = item.is_symlink()
        if link or item.is_file(follow_symlinks=False):
            return Entry(path, link, item.stat(follow_symlinks=False))
    except OSError:
        return None
    return None

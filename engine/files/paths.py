"""Paths of a project: one spelling per file, and no way out of the root."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from engine.errors import WorkspaceError

_MARKERS = ("engine.yaml", ".engine", ".git", "pyproject.toml")


def find_project_root(start: Path) -> Path:
    """Return the nearest folder at or above `start` that looks like a project's root, else `start`'s own folder.

    A project's root holds engine.yaml, .engine, .git or pyproject.toml.
    """
    start = start.resolve()
    folder = start if start.is_dir() else start.parent
    return next(
        (here for here in (folder, *folder.parents) if any((here / name).exists() for name in _MARKERS)), folder
    )


def normalise(root: Path, path: str) -> str:
    """Return the one posix spelling, relative to the root, of a path; `.` is the root itself.

    Symbolic links inside the root are followed, so that a file has one name. The file need not exist.

    Args:
        root: The project's root, an absolute path.
        path: A path relative to the root, or an absolute one inside it.

    Raises:
        WorkspaceError: The path is empty, cannot be a file name, or leaves the root.
    """
    lexical = _lexical(root, path)
    try:
        if _is_plain(root, lexical):
            return "/".join(lexical) or "."
        real_root = os.path.realpath(root)
        real = os.path.realpath(os.path.join(real_root, *lexical))  # noqa: PTH118 - names must not be read as absolute paths
    except (OSError, ValueError) as error:
        raise WorkspaceError(f"{path!r} cannot be a path: {error}") from error
    if real != real_root and not real.startswith(real_root.rstrip("/") + "/"):
        raise WorkspaceError(f"{path!r} is a link that leaves the project; use a path inside {root}")
    return os.path.relpath(real, real_root).replace(os.sep, "/")


def _is_plain(root: Path, names: Sequence[str]) -> bool:
    """Tell whether no link is on the way from the root to a path; what does not exist is none."""
    path = str(root)
    for name in names:
        path = f"{path}/{name}"
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return False
        except FileNotFoundError:
            return True
        except OSError:
            return False
    return True


def join_inside(root: Path, path: str) -> Path:
    """Return the absolute path of a normalised one; refuses what `normalise` would refuse or spell otherwise.

    Raises:
        WorkspaceError: The path is not (or no longer) a plain path inside the root.
    """
    if normalise(root, path) != path:
        raise WorkspaceError(
            f"{path!r} is reached through a link now; remove the link or name the file that it points to"
        )
    return Path(os.path.realpath(root)) / path


def is_utf8(name: str) -> bool:
    """Tell whether a file name, as Python decoded it, is UTF-8; others cannot be stored or shown."""
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def _lexical(root: Path, path: str) -> list[str]:
    """Split into names relative to the root, with `.` and `..` resolved."""
    if not path or "\0" in path:
        raise WorkspaceError(f"{path!r} is not a path: it is empty or holds a NUL character")
    if not is_utf8(path):
        raise WorkspaceError(f"{path!r} is not a path here: file names must be UTF-8")
    names: list[str] = []
    for name in _below(root, path).split("/"):
        if name == "..":
            if not names:
                raise WorkspaceError(f"{path!r} leaves the project; use a path inside {root}")
            names.pop()
        elif name not in ("", "."):
            names.append(name)
    return names


def _below(root: Path, path: str) -> str:
    """Strip the root from an absolute path."""
    if not path.startswith("/"):
        return path
    plain = os.path.normpath(path)
    for base in {str(root), os.path.realpath(root)}:
        if plain == base:
            return "."
        if plain.startswith(base.rstrip("/") + "/"):
            return plain[len(base.rstrip("/")) + 1 :]
    raise WorkspaceError(f"{path!r} is outside the project; use a path inside {root}")

"""Which files are not the project's own: .gitignore rules, inside a git repository or not, and tools' own folders.

The rules are those of https://git-scm.com/docs/gitignore.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pathspec

_PRIVATE = frozenset({".git", ".engine"})
_SKIPPED_FOLDERS = _PRIVATE | {
    ".eggs", ".hg", ".hypothesis", ".import_linter_cache", ".jj", ".mypy_cache", ".nox", ".pytest_cache", ".ruff_cache",
    ".svn", ".tox", ".venv", "__pycache__", "__pypackages__", "node_modules", "venv",
}  # fmt: skip
_SKIPPED_FILES = frozenset({".DS_Store", ".coverage"})
_SKIPPED_SUFFIXES = (".pyc", ".pyo")


def is_private(path: str) -> bool:
    """Tell whether a relative path lies in `.git` or `.engine`, which no task may see."""
    return any(part.casefold() in _PRIVATE for part in path.split("/"))


def is_skipped(name: str, *, folder: bool) -> bool:
    """Tell whether a name is a tool's own folder or file, whatever .gitignore says."""
    if folder:
        return name in _SKIPPED_FOLDERS or name.endswith(".egg-info")
    return name in _SKIPPED_FILES or name.endswith(_SKIPPED_SUFFIXES)


class IgnoreRules:
    """The ignore rules that hold below a folder: its own, nested ones, and those of the git repository around it.

    One instance reads each .gitignore once; make a new one to see edits.

    Args:
        root: The folder, absolute.
        alone: Leave out the rules of the folders above it.
    """

    def __init__(self, root: Path, *, alone: bool = False) -> None:
        self.root = root
        self._specs: dict[str, pathspec.GitIgnoreSpec | None] = {}
        self._use(root if alone else _repository_top(root))
        parts = self._prefix.split("/")[:-1]
        if any(self._matched("/".join(parts[: count + 1]), folder=True) for count in range(len(parts))):
            self._specs.clear()
            self._use(root)  # the repository around it does not count this folder as its own

    def _use(self, top: Path) -> None:
        self._top = top
        prefix = self.root.relative_to(top).as_posix()
        self._prefix = "" if prefix == "." else prefix + "/"
        self._exclude = _read_spec(_exclude_file(top))

    def ignored(self, path: str, *, folder: bool) -> bool:
        """Tell whether a path relative to the root is ignored; its parents are taken as not ignored.

        Args:
            path: A posix path relative to the root.
            folder: Whether it is a folder.
        """
        if is_skipped(path.rpartition("/")[2], folder=folder):
            return True
        return self._matched(self._prefix + path, folder=folder)

    def _matched(self, path: str, *, folder: bool) -> bool:
        """Ask the rules of each folder above a path, the innermost first: the first answer holds."""
        full = path + "/" if folder else path
        base = path
        while base:
            base = base.rpartition("/")[0]
            below = full[len(base) + 1 :] if base else full
            spec = self._spec(base)
            found = spec.check_file(below).include if spec is not None else None
            if found is not None:
                return found
        return self._exclude is not None and bool(self._exclude.check_file(full).include)

    def ignored_below(self, path: str, *, folder: bool = False) -> bool:
        """Tell whether a file (or folder) is ignored, itself or through one of the folders that it is in."""
        parts = path.split("/")
        folders = ("/".join(parts[:count]) for count in range(1, len(parts)))
        return any(self.ignored(above, folder=True) for above in folders) or self.ignored(path, folder=folder)

    def _spec(self, base: str) -> pathspec.GitIgnoreSpec | None:
        if base not in self._specs:
            self._specs[base] = _read_spec(self._top / base / ".gitignore")
        return self._specs[base]


def _read_spec(path: Path | None) -> pathspec.GitIgnoreSpec | None:
    """Read one file of rules; a rule that is no valid pattern matches nothing, as in git."""
    try:
        text = path.read_text("utf-8", "replace") if path else ""
    except OSError:
        return None
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return pathspec.GitIgnoreSpec.from_lines(tuple(line for line in lines if _is_pattern(line))) if lines else None


@lru_cache(maxsize=4096)
def _is_pattern(line: str) -> bool:
    try:
        pathspec.GitIgnoreSpec.from_lines((line,))
    except ValueError:
        return False
    return True


def _repository_top(root: Path) -> Path:
    """Return the folder of the git repository around the root, or the root itself."""
    return next((folder for folder in (root, *root.parents) if (folder / ".git").exists()), root)


def _exclude_file(top: Path) -> Path | None:
    """Find info/exclude of a repository; in a worktree .git is a file that points to the real folder."""
    git = top / ".git"
    if git.is_dir():
        return git / "info" / "exclude"
    try:
        pointer = git.read_text("utf-8").removeprefix("gitdir:").strip()
        folder = (top / pointer).resolve()
        common = folder / "commondir"
        shared = (folder / common.read_text("utf-8").strip()).resolve() if common.is_file() else folder
    except (OSError, ValueError):
        return None
    return shared / "info" / "exclude"

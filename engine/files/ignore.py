"""Which files are not the project's own: .gitignore rules, inside a git repository or not, and tools' own folders.

The rules are those of https://git-scm.com/docs/gitignore.
"""

from __future__ import annotations

from pathlib import Path

from engine.files.gitignore import Rules

_PRIVATE = frozenset({".git", ".engine"})
_SKIPPED_FOLDERS = _PRIVATE | {
    ".eggs", ".hg", ".hypothesis", ".import_linter_cache", ".jj", ".mypy_cache", ".nox", ".pytest_cache", ".ruff_cache",
    ".svn", ".tox", ".venv", "__pycache__", "__pypackages__", "node_modules", "venv",
}  # fmt: skip
_SKIPPED_FILES = frozenset({".DS_Store", ".coverage"})
_SKIPPED_SUFFIXES = (".pyc", ".pyo")
_NONE = Rules()


def is_private(path: str) -> bool:
    """Tell whether a relative path lies in `.git` or `.engine`, which no task may see."""
    return any(part.casefold() in _PRIVATE for part in path.split("/"))


def is_skipped(name: str, *, folder: bool) -> bool:
    """Tell whether a name is a tool's own folder or file, whatever .gitignore says."""
    if folder:
        return name in _SKIPPED_FOLDERS or name.endswith(".egg-info")
    if name.startswith(".engine-") and name.endswith(".tmp"):
        return True  # what a killed `atomic_write` left
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
        self._rules: dict[str, Rules] = {}
        self._use(root if alone else _repository_top(root))
        parts = self._prefix.split("/")[:-1]
        if any(self._matched("/".join(parts[: count + 1]), folder=True) for count in range(len(parts))):
            self._rules.clear()
            self._use(root)  # the repository around it does not count this folder as its own

    def _use(self, top: Path) -> None:
        self._top = top
        prefix = self.root.relative_to(top).as_posix()
        self._prefix = "" if prefix == "." else prefix + "/"
        self._exclude = _read_rules(_exclude_file(top))

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
        base = path
        while base:
            base = base.rpartition("/")[0]
            below = path[len(base) + 1 :] if base else path
            found = self._rules_in(base).answer(below, folder=folder)
            if found is not None:
                return found
        return bool(self._exclude.answer(path, folder=folder))

    def ignored_below(self, path: str, *, folder: bool = False) -> bool:
        """Tell whether a file (or folder) is ignored, itself or through one of the folders that it is in."""
        parts = path.split("/")
        folders = ("/".join(parts[:count]) for count in range(1, len(parts)))
        return any(self.ignored(above, folder=True) for above in folders) or self.ignored(path, folder=folder)

    def _rules_in(self, base: str) -> Rules:
        if base not in self._rules:
            self._rules[base] = _read_rules(self._top / base / ".gitignore")
        return self._rules[base]


def _read_rules(path: Path | None) -> Rules:
    try:
        return Rules(path.read_text("utf-8", "surrogateescape")) if path else _NONE
    except OSError:
        return _NONE


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

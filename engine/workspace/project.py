"""The project's own files as one bundle may see them: below every overlay, and nothing is kept."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import WorkspaceError
from engine.files import IgnoreRules, glob_match, is_private, is_utf8, join_inside, matches_any, normalise, walk
from engine.workspace.reads import ABSENT, digest_of, digest_of_error, digest_of_value
from engine.workspace.search import search_lines
from engine.workspace.tree import FileDigests, digest_of_project

if TYPE_CHECKING:
    from engine.manifest.bundle_model import Permissions

MAX_FILE_BYTES = 10 << 20


@dataclass(frozen=True, slots=True)
class State:
    """A file's content (None: it does not exist) and permission bits."""

    content: bytes | None
    mode: int | None = None


class Project:
    """What a bundle can see of the project's files.

    Args:
        root: The project's root; links in it are kept where a path is spelled with it.
        permissions: The bundle's permissions.
        digests: Remembers the digests of files from question to question.
    """

    def __init__(self, root: Path, permissions: Permissions, digests: FileDigests | None = None) -> None:
        self.spelled = Path(os.path.abspath(root))  # noqa: PTH100 - links in it are kept: callers may spell it so
        self.root = Path(os.path.realpath(root))
        self.permissions = permissions
        self._digests = digests or FileDigests()

    def answer(self, kind: str, subject: str) -> str:
        """Answer a question of `Reads` about the files as they are now.

        Args:
            kind: `file`, `exists`, `folder`, `search`, `tree`, `place` or `link`.
            subject: The path; for a search its pattern and glob as JSON; empty for the tree.
        """
        try:
            if kind in _PLACES and self.normalised(subject) != subject:
                return "a link"  # it is another file now that is called so
            return _ANSWERS[kind](self, subject)
        except WorkspaceError as error:
            return digest_of_error(error)

    def _file(self, name: str) -> str:
        return digest_of(self.live(name).content)

    def _exists(self, name: str) -> str:
        if self.is_folder(name):
            return "folder"
        return "file" if self.live(name).content is not None else ABSENT

    def listed(self, name: str, children: dict[str, bool]) -> str:
        """Return the answer to what is in a folder, given its children."""
        return digest_of_value(self.shown(name, children)) if self.is_folder(name) else ABSENT

    def _folder(self, name: str) -> str:
        return self.listed(name, self.children(name))

    def _search(self, subject: str) -> str:
        pattern, glob = json.loads(subject)
        return digest_of_value(search_lines(pattern, self.files(glob)))

    def _tree(self, _subject: str) -> str:
        return digest_of_project(self.root, self.may_read, self._digests)

    def _place(self, name: str) -> str:
        self.check_place(name)
        return "free"

    def _link(self, path: str) -> str:
        return self.normalised(path)

    def normalised(self, path: str) -> str:
        """Return the one spelling of a path, relative to the root.

        Raises:
            WorkspaceError: It leaves the root or cannot be a path.
        """
        return normalise(self.spelled, path)

    def may_read(self, name: str) -> bool:
        """Tell whether the permissions allow to read a normalised path."""
        return not is_private(name) and matches_any(name, self.permissions.read)

    def may_write(self, name: str) -> bool:
        """Tell whether the permissions allow to write a normalised path."""
        return not is_private(name) and matches_any(name, self.permissions.write)

    def live(self, name: str) -> State:
        """Read a file.

        Raises:
            WorkspaceError: It is no file, too large, or cannot be read.
        """
        try:
            path = join_inside(self.root, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return State(None)
        except OSError as error:
            raise WorkspaceError(f"{name} cannot be read: {error.strerror or error}") from error
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise WorkspaceError(f"{name} is not a file; name one")
            if info.st_size > MAX_FILE_BYTES:
                raise WorkspaceError(f"{name} is larger than a task may read ({MAX_FILE_BYTES} bytes)")
            with open(descriptor, "rb", closefd=False) as file:
                return State(file.read(), stat.S_IMODE(info.st_mode))
        finally:
            os.close(descriptor)

    def is_folder(self, name: str) -> bool:
        """Tell whether there is such a folder."""
        return name == "." or (self.root / name).is_dir()

    def children(self, name: str) -> dict[str, bool]:
        """Return the names in a folder, and whether each is a folder; what cannot be read at all is left out."""
        if not self.is_folder(name):
            return {}
        with os.scandir(self.root / name) as items:
            return {item.name: item.is_dir() for item in items if self._stays_inside(item)}

    def shown(self, name: str, children: dict[str, bool]) -> list[str]:
        """Return those of a folder's names that the bundle may see, sorted."""
        prefix = "" if name == "." else name + "/"
        return sorted(
            child
            for child, folder in children.items()
            if is_utf8(child) and not is_private(child) and (folder or self.may_read(prefix + child))
        )

    def files(self, glob: str, hidden: Collection[str] = ()) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Yield the files that match and are not ignored, each with a function that reads it.

        Args:
            glob: Which files, relative to the root.
            hidden: Paths that are left out.
        """
        for entry in walk(self.root, IgnoreRules(self.root)):
            if entry.link or entry.path in hidden or entry.stat.st_size > MAX_FILE_BYTES:
                continue
            if self.may_read(entry.path) and glob_match(entry.path, glob):
                yield entry.path, lambda path=entry.path: self._quietly(path)  # type: ignore[misc] # binds the loop's value

    def check_place(self, name: str) -> None:
        """Refuse a file where a folder is, or below a file."""
        if self.is_folder(name):
            raise WorkspaceError(f"{name} is a folder; name a file")
        above = name.rpartition("/")[0]
        while above:
            self.check_above(name, above)
            above = above.rpartition("/")[0]

    def check_above(self, name: str, above: str) -> None:
        """Refuse a path below something that is no folder."""
        if os.path.lexists(self.root / above) and not (self.root / above).is_dir():
            raise WorkspaceError(f"{above} is a file, so {name} cannot be below it")

    def _stays_inside(self, item: os.DirEntry[str]) -> bool:
        """Tell whether an item can be read at all: links that leave the root or lead nowhere cannot."""
        if not item.is_symlink():
            return True
        real = os.path.realpath(item.path)
        return real.startswith(f"{self.root}/") and os.path.lexists(real) and not Path(real).is_symlink()

    def _quietly(self, name: str) -> bytes:
        try:
            return self.live(name).content or b""
        except WorkspaceError:
            return b""  # it vanished or became unreadable since it was listed


class Snapshot(Project):
    """The project's files, each read once: for many workspaces at one moment."""

    def __init__(self, root: Path, permissions: Permissions) -> None:
        super().__init__(root, permissions)
        self._states: dict[str, State] = {}
        self._names: dict[str, str] = {}
        self._known: dict[tuple[str, str], bool] = {}

    def normalised(self, path: str) -> str:
        """Return the one spelling of a path, looked up once."""
        if path not in self._names:
            self._names[path] = super().normalised(path)
        return self._names[path]

    def may_read(self, name: str) -> bool:
        """Tell whether the permissions allow to read a path."""
        return self._once("read", name, super().may_read)

    def may_write(self, name: str) -> bool:
        """Tell whether the permissions allow to write a path."""
        return self._once("write", name, super().may_write)

    def is_folder(self, name: str) -> bool:
        """Tell whether there was such a folder when it was first asked for."""
        return self._once("folder", name, super().is_folder)

    def check_above(self, name: str, above: str) -> None:
        """Refuse a path below something that is no folder."""
        if not self.is_folder(above):
            super().check_above(name, above)

    def _once(self, question: str, name: str, ask: Callable[[str], bool]) -> bool:
        key = (question, name)
        if key not in self._known:
            self._known[key] = ask(name)
        return self._known[key]

    def live(self, name: str) -> State:
        """Return a file as it was when it was first asked for."""
        if name not in self._states:
            self._states[name] = super().live(name)
        return self._states[name]


_PLACES = frozenset({"exists", "file", "folder", "place"})
_ANSWERS: dict[str, Callable[[Project, str], str]] = {
    "file": Project._file,  # noqa: SLF001 - a part of the class
    "exists": Project._exists,  # noqa: SLF001 - as above
    "folder": Project._folder,  # noqa: SLF001 - as above
    "search": Project._search,  # noqa: SLF001 - as above
    "tree": Project._tree,  # noqa: SLF001 - as above
    "place": Project._place,  # noqa: SLF001 - as above
    "link": Project._link,  # noqa: SLF001 - as above
}

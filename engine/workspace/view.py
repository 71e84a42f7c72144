"""The project as a command sees it: a private copy with the task's overlay on top, kept in step with the overlay."""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import ConflictError, WorkspaceError
from engine.files import Entry, IgnoreRules, is_private, walk
from engine.workspace.clone import clone_file, clone_link
from engine.workspace.overlay import Workspace
from engine.workspace.project import MAX_FILE_BYTES
from engine.workspace.tree import FileDigests, Stamp, digest_of_files
from engine.workspace.tree import stamp_of as _stamp


@dataclass(frozen=True, slots=True)
class ViewLimits:
    """How large a copy may be.

    Attributes:
        total_bytes: Size of all files together.
        files: Their number.
    """

    total_bytes: int = 512 << 20
    files: int = 50_000


class View:
    """A copy of the project's own files in a private folder. All methods block.

    Args:
        folder: The folder, empty; the project goes into it as it is.
        workspace: The task's workspace.
        limits: How large the copy may be.
    """

    def __init__(self, folder: Path, workspace: Workspace, limits: ViewLimits) -> None:
        self.folder = folder
        self._workspace = workspace
        self._rules = IgnoreRules(workspace.root)
        self._live: dict[str, Stamp] = {}
        self._stamps: dict[str, Stamp] = {}
        self._pushed: dict[str, bytes | None] = {}
        self._copy(limits)

    def digest(self) -> str:
        """Return the digest of what was copied; to be asked before the first command."""
        return digest_of_files(self.folder, self._stamps, FileDigests())

    def push(self) -> None:
        """Bring what the task wrote into the copy."""
        for name, (content, mode) in self._workspace.written().items():
            if name not in self._pushed or self._pushed[name] != content:
                self._write(name, content, mode)

    def pull(self) -> list[str]:
        """Take what a command changed over into the workspace; returns the files that it may not write, sorted.

        Those are put back as they were. Ignored files, such as caches, stay in the copy and are left out.

        Raises:
            ConflictError: The project's own file changed while the task ran.
            WorkspaceError: A changed file is too large.
        """
        if self.folder.is_symlink() or not self.folder.is_dir():
            raise WorkspaceError("the command moved its copy of the project away; what it changed is lost")
        found = {entry.path: entry for entry in walk(self.folder, self._rules)}
        dropped: list[str] = []
        for name in sorted({*found, *self._stamps}):
            entry = found.get(name) or self._entry(name)
            if entry is None and name not in self._stamps:
                continue
            if entry is not None and self._stamps.get(name) == _stamp(entry.stat):
                continue
            if not self._take(name, entry):
                dropped.append(name)
        return dropped

    def _copy(self, limits: ViewLimits) -> None:
        total = count = 0
        for entry in walk(self._workspace.root, self._rules):
            if not self._workspace.may_read(entry.path):
                continue
            total, count = total + entry.stat.st_size, count + 1
            if total > limits.total_bytes or count > limits.files:
                raise WorkspaceError(
                    f"the project is too large to copy for a command (over {limits.total_bytes >> 20} MiB"
                    f" or {limits.files} files); list what is not source in .gitignore, or narrow permissions.read"
                )
            source, target = self._workspace.root / entry.path, self.folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # it vanished since it was listed
                copied = clone_link(source, target, self._workspace.root) if entry.link else clone_file(source, target)
                if copied is not None:
                    self._live[entry.path] = _stamp(copied)
                    self._stamps[entry.path] = _stamp(target.lstat())

    def _entry(self, name: str) -> Entry | None:
        """Look at a file that the walk left out, such as an ignored one that the task wrote."""
        with contextlib.suppress(OSError):
            info = (self.folder / name).lstat()
            return Entry(name, stat.S_ISLNK(info.st_mode), info)
        return None

    def _take(self, name: str, entry: Entry | None) -> bool:
        """Take one file over; returns False, and puts it back, if that is not allowed."""
        if entry is not None and stat.S_ISDIR(entry.stat.st_mode):
            entry = None  # a folder took its place
        if entry is not None and (entry.link or not stat.S_ISREG(entry.stat.st_mode)):
            self._restore(name)
            return False
        if entry is not None and entry.stat.st_size > MAX_FILE_BYTES:
            raise WorkspaceError(f"{name}: the command made it larger than a task may write ({MAX_FILE_BYTES} bytes)")
        content = (self.folder / name).read_bytes() if entry is not None else None
        if not self._is_new(name, content):
            self._remember(name, entry)
            return True
        if is_private(name) or not self._workspace.may_write(name):
            self._restore(name)
            return False
        mode = stat.S_IMODE(entry.stat.st_mode) if entry is not None else None
        self._workspace.absorb(name, self._before(name), content, mode)
        self._pushed[name] = content
        self._remember(name, entry)
        return True

    def _is_new(self, name: str, content: bytes | None) -> bool:
        """Tell whether a content differs from what the copy held before the command."""
        if name in self._pushed:
            return self._pushed[name] != content
        if name not in self._live or content is None:
            return True
        try:
            return self._original(name) != content
        except ConflictError:
            return True

    def _before(self, name: str) -> Callable[[], bytes | None]:
        return lambda: self._original(name) if name in self._live else None

    def _original(self, name: str) -> bytes:
        """Return what was copied: the project's own file, if it is still the same."""
        path = self._workspace.root / name
        try:
            if _stamp(path.lstat()) == self._live[name]:
                return path.read_bytes()
        except OSError:
            pass
        raise ConflictError(f"{name} changed in the project while the task ran; run the bundle again")

    def _restore(self, name: str) -> None:
        """Put a file back as it was before the command."""
        source = self._workspace.root / name
        if name in self._pushed:
            self._write(name, self._pushed[name], None)
        elif name in self._live and source.is_symlink():
            self._remove(name)
            clone_link(source, self.folder / name, self._workspace.root)
        elif name in self._live:
            with contextlib.suppress(ConflictError):  # then nobody can say what it was, and the copy keeps what it has
                self._original(name)
                self._remove(name)
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                clone_file(source, self.folder / name)
        else:
            self._remove(name)
        self._remember(name, self._entry(name))

    def _write(self, name: str, content: bytes | None, mode: int | None) -> None:
        self._remove(name)
        if content is not None:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if mode is not None:
                path.chmod(mode | stat.S_IWUSR | stat.S_IRUSR)
        self._pushed[name] = content
        self._remember(name, self._entry(name))

    def _remove(self, name: str) -> None:
        path = self.folder / name
        for above in reversed(path.relative_to(self.folder).parents[:-1]):
            if (self.folder / above).is_symlink() or (self.folder / above).is_file():
                (self.folder / above).unlink()  # a command put it where a folder belongs
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()

    def _remember(self, name: str, entry: Entry | None) -> None:
        if entry is None:
            self._stamps.pop(name, None)
        else:
            self._stamps[name] = _stamp(entry.stat)

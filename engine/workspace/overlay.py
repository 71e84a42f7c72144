"""The workspace: the copy-on-write view of the project that one task reads and writes."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import PermissionDenied, WorkspaceError
from engine.files import IgnoreRules, glob_match, is_private, is_utf8, join_inside, matches_any, normalise, walk
from engine.workspace.change import Change
from engine.workspace.search import search_lines
from engine.workspace.text import decode_text, encode_text

if TYPE_CHECKING:
    from engine.manifest.bundle_model import Permissions

MAX_FILE_BYTES = 10 << 20
MAX_OVERLAY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class _State:
    """A file's content (None: it does not exist) and permission bits."""

    content: bytes | None
    mode: int | None = None


class Workspace:
    """What a task sees of the project and what it wrote; the project's own files stay as they are.

    Paths are posix paths relative to the project's root; absolute ones inside it are accepted. A path that leaves the
    root is refused however it is spelled, and so are `.git` and `.engine`. A file that was read once stays what it was
    then. The methods may be called from several threads.

    Args:
        root: The project's root.
        permissions: The bundle's permissions.
    """

    def __init__(self, root: Path, permissions: Permissions) -> None:
        self._spelled_root = Path(os.path.abspath(root))  # noqa: PTH100 - links in it are kept: callers may spell it so
        self.root = Path(os.path.realpath(root))
        self.permissions = permissions
        self._seen: dict[str, _State] = {}
        self._written: dict[str, _State] = {}
        self._lock = threading.RLock()

    def read_bytes(self, path: str) -> bytes:
        """Return a file's content.

        Raises:
            PermissionDenied: The bundle may not read it.
            WorkspaceError: There is no such file, or the path is not allowed.
        """
        name = self._readable(path)
        with self._lock:
            content = self._state(name).content
        if content is None:
            raise WorkspaceError(f"{name}: no such file; list_dir shows what is there")
        return content

    def read_text(self, path: str) -> str:
        r"""Return a file's text: UTF-8, without byte order mark, lines ending with `\n`.

        Raises:
            PermissionDenied: The bundle may not read it.
            WorkspaceError: There is no such file, it is not UTF-8, or the path is not allowed.
        """
        return decode_text(self.read_bytes(path), path)

    def write_bytes(self, path: str, content: bytes) -> None:
        """Replace or create a file.

        Raises:
            PermissionDenied: The bundle may not write it.
            WorkspaceError: The path is not allowed, or the content is too large.
        """
        name = self._writable(path)
        with self._lock:
            self._check_place(name)
            self._put(name, content)

    def write_text(self, path: str, text: str) -> None:
        """Replace or create a text file; an existing one keeps its line endings and byte order mark.

        Raises:
            PermissionDenied: The bundle may not write it.
            WorkspaceError: The path is not allowed, or the text cannot be UTF-8 or is too large.
        """
        name = self._writable(path)
        with self._lock:
            self._check_place(name)
            self._put(name, encode_text(text, self._state(name).content, name))

    def delete(self, path: str) -> None:
        """Delete a file.

        Raises:
            PermissionDenied: The bundle may not write it.
            WorkspaceError: There is no such file, or the path is not allowed.
        """
        name = self._writable(path)
        with self._lock:
            if self._state(name).content is None:
                raise WorkspaceError(f"{name}: no such file to delete")
            self._put(name, None)

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file or folder.

        Raises:
            PermissionDenied: The bundle may neither read nor write it.
            WorkspaceError: The path is not allowed.
        """
        name = self._name(path)
        with self._lock:
            if self._is_folder(name):
                return True
            if not (self.may_read(name) or self.may_write(name)):
                self._deny("read", name)
            return self._state(name).content is not None

    def list_dir(self, path: str = ".") -> list[str]:
        """Return the names in a folder, sorted, without files that the bundle may not read.

        Raises:
            WorkspaceError: There is no such folder, or the path is not allowed.
        """
        name = self._name(path)
        with self._lock:
            if not self._is_folder(name):
                raise WorkspaceError(f"{name}: no such folder")
            return sorted(self._children(name))

    def search(self, pattern: str, glob: str = "**/*") -> list[dict[str, Any]]:
        """Return the lines that match a regular expression as `{"path", "line", "text"}`, at most 200.

        Ignored files, and what the bundle may not read, are left out. Finding a line is not reading its file.

        Args:
            pattern: A regular expression (RE2), matched line by line.
            glob: Which files, relative to the root.

        Raises:
            WorkspaceError: The pattern is not valid, or the search took too long.
        """
        return search_lines(pattern, self._files(glob))

    def changes(self) -> list[Change]:
        """Return what the task changed, sorted by path; a file that is what it was is no change."""
        with self._lock:
            written = sorted(self._written.items())
            return [
                Change(name, self._seen[name].content, state.content, state.mode)
                for name, state in written
                if state.content != self._seen[name].content
            ]

    def may_read(self, name: str) -> bool:
        """Tell whether the permissions allow to read a normalised path."""
        return not is_private(name) and matches_any(name, self.permissions.read)

    def may_write(self, name: str) -> bool:
        """Tell whether the permissions allow to write a normalised path."""
        return not is_private(name) and matches_any(name, self.permissions.write)

    def written(self) -> dict[str, tuple[bytes | None, int | None]]:
        """Return content (None: deleted) and mode of every file that the task wrote."""
        with self._lock:
            return {name: (state.content, state.mode) for name, state in self._written.items()}

    def absorb(self, name: str, before: Callable[[], bytes | None], after: bytes | None, mode: int | None) -> None:
        """Take over what a command did to a file.

        Args:
            name: A normalised path that the bundle may write.
            before: Gives what the command found there; asked only if the task has not seen the file.
            after: What it left there, None when it deleted the file.
            mode: Permission bits of a new file.
        """
        with self._lock:
            if name not in self._seen:
                self._seen[name] = _State(before(), mode)
            self._put(name, after, mode)

    def _name(self, path: str) -> str:
        if not isinstance(path, str):
            raise WorkspaceError(f"{path!r} is not a path: it must be a text")
        name = normalise(self._spelled_root, path)
        if is_private(name):
            raise PermissionDenied(f"{name} belongs to git or to the engine; no bundle may read or write it")
        return name

    def _readable(self, path: str) -> str:
        name = self._name(path)
        if not self.may_read(name):
            self._deny("read", name)
        return name

    def _writable(self, path: str) -> str:
        name = self._name(path)
        if not self.may_write(name):
            self._deny("write", name)
        return name

    def _deny(self, permission: str, name: str) -> NoReturn:
        globs = getattr(self.permissions, permission)
        allowed = ", ".join(globs) if globs else "nothing"
        raise PermissionDenied(
            f"permission '{permission}' does not cover {name}; the bundle may {permission}: {allowed}"
        )

    def _state(self, name: str) -> _State:
        """Return what the task sees, and remember what it saw first."""
        if name in self._written:
            return self._written[name]
        if name not in self._seen:
            self._seen[name] = self._live(name)
        return self._seen[name]

    def _put(self, name: str, content: bytes | None, mode: int | None = None) -> None:
        old = self._state(name)
        if content is not None and len(content) > MAX_FILE_BYTES:
            raise WorkspaceError(f"{name}: {len(content)} bytes is more than a task may write ({MAX_FILE_BYTES})")
        others = sum(len(state.content or b"") for other, state in self._written.items() if other != name)
        if others + len(content or b"") > MAX_OVERLAY_BYTES:
            raise WorkspaceError(f"the task wrote more than {MAX_OVERLAY_BYTES} bytes in all; write less")
        self._written[name] = _State(content, old.mode if old.mode is not None else mode)

    def _live(self, name: str) -> _State:
        """Read the project's own file."""
        try:
            path = join_inside(self.root, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return _State(None)
        except OSError as error:
            raise WorkspaceError(f"{name} cannot be read: {error.strerror or error}") from error
        try:
            info = os.fstat(descriptor)
            if not stat.S_ISREG(info.st_mode):
                raise WorkspaceError(f"{name} is not a file; name one")
            if info.st_size > MAX_FILE_BYTES:
                raise WorkspaceError(f"{name} is larger than a task may read ({MAX_FILE_BYTES} bytes)")
            with open(descriptor, "rb", closefd=False) as file:
                return _State(file.read(), stat.S_IMODE(info.st_mode))
        finally:
            os.close(descriptor)

    def _check_place(self, name: str) -> None:
        """Refuse a file where a folder is, or below a file."""
        if self._is_folder(name):
            raise WorkspaceError(f"{name} is a folder; name a file")
        above = name.rpartition("/")[0]
        while above:
            if above in self._written and self._written[above].content is not None:
                raise WorkspaceError(f"{above} is a file, so {name} cannot be below it")
            if above not in self._written and os.path.lexists(self.root / above) and not (self.root / above).is_dir():
                raise WorkspaceError(f"{above} is a file, so {name} cannot be below it")
            above = above.rpartition("/")[0]

    def _is_folder(self, name: str) -> bool:
        if name == ".":
            return True
        prefix = name + "/"
        if any(other.startswith(prefix) and state.content is not None for other, state in self._written.items()):
            return True
        return name not in self._written and (self.root / name).is_dir()

    def _children(self, name: str) -> Iterator[str]:
        prefix = "" if name == "." else name + "/"
        names: dict[str, bool] = {}
        if (self.root / name).is_dir():
            with os.scandir(self.root / name) as items:
                names.update((item.name, item.is_dir()) for item in items if self._stays_inside(item))
        for other, state in self._written.items():
            if other.startswith(prefix):
                child, below, _ = other[len(prefix) :].partition("/")
                if state.content is not None:
                    names[child] = bool(below)
                elif not below:
                    names.pop(child, None)
        for child, folder in names.items():
            if is_utf8(child) and not is_private(child) and (folder or self.may_read(prefix + child)):
                yield child

    def _stays_inside(self, item: os.DirEntry[str]) -> bool:
        """Tell whether an item can be read at all: links that leave the root or lead nowhere cannot."""
        if not item.is_symlink():
            return True
        real = os.path.realpath(item.path)
        return real.startswith(f"{self.root}/") and os.path.lexists(real) and not Path(real).is_symlink()

    def _files(self, glob: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Yield the files of the view that match, each with a function that reads it."""
        written = self.written()
        for name in sorted(name for name, (content, _) in written.items() if content is not None):
            if self.may_read(name) and glob_match(name, glob):
                yield name, lambda name=name: written[name][0] or b""  # type: ignore[misc] # binds the loop's value
        for entry in walk(self.root, IgnoreRules(self.root)):
            if entry.link or entry.path in written or entry.stat.st_size > MAX_FILE_BYTES:
                continue
            if self.may_read(entry.path) and glob_match(entry.path, glob):
                yield entry.path, lambda path=entry.path: self._quietly(path)  # type: ignore[misc] # as above

    def _quietly(self, name: str) -> bytes:
        with self._lock:
            seen = self._seen.get(name)
        try:
            return (seen or self._live(name)).content or b""
        except WorkspaceError:
            return b""  # it vanished or became unreadable since it was listed

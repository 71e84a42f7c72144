"""The workspace: the copy-on-write view of the project that one task reads and writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from engine.errors import PermissionDenied, WorkspaceError
from engine.files import glob_match, is_private
from engine.workspace.change import Change
from engine.workspace.project import MAX_FILE_BYTES, Project, State
from engine.workspace.reads import Reads, digest_of, digest_of_error, digest_of_value
from engine.workspace.search import SearchTimeoutError, search_lines
from engine.workspace.text import decode_text, encode_text

if TYPE_CHECKING:
    from engine.manifest.bundle_model import Permissions

MAX_OVERLAY_BYTES = 64 << 20


class Workspace:
    """What a task sees of the project and what it wrote; the project's own files stay as they are.

    Paths are posix paths relative to the project's root; absolute ones inside it are accepted. A path that leaves the
    root is refused however it is spelled, and so are `.git` and `.engine`. A file that was read once stays what it was
    then. The methods may be called from several threads.

    Args:
        root: The project's root.
        permissions: The bundle's permissions.
        project: The project's files below the overlay, where several workspaces share what was read of them.

    Attributes:
        reads: What was learned about the project's own files.
    """

    def __init__(self, root: Path, permissions: Permissions, *, project: Project | None = None) -> None:
        self.permissions = permissions
        self.reads = Reads()
        self._project = project or Project(root, permissions)
        self.root = self._project.root
        self._seen: dict[str, State] = {}
        self._plain: set[str] = set()  # paths that lead where they say: for a task they go on to, as contents do
        self._written: dict[str, State] = {}
        self._lock = threading.RLock()

    def build_on(self, changes: Iterable[Change]) -> None:
        """Show what others changed as if it were in the project; it is no change of this task's own."""
        with self._lock:
            for change in changes:
                self._seen[change.path] = self._written[change.path] = State(change.after, change.mode)

    def read_bytes(self, path: str) -> bytes:
        """Return a file's content.

        Raises:
            PermissionDenied: The bundle may not read it.
            WorkspaceError: There is no such file, or the path is not allowed.
        """
        return self._content(path, tracked=True)

    def _content(self, path: str, *, tracked: bool) -> bytes:
        name = self._readable(path)
        with self._lock:
            content = (self._learned(name) if tracked else self._state(name)).content
        if content is None:
            raise WorkspaceError(f"{name}: no such file; list_dir shows what is there")
        return content

    def read_text(self, path: str, *, tracked: bool = True) -> str:
        r"""Return a file's text: UTF-8, without byte order mark, lines ending with `\n`.

        Args:
            path: The file.
            tracked: Whether it counts among the `reads`; False where the caller keeps track of the part that it uses.

        Raises:
            PermissionDenied: The bundle may not read it.
            WorkspaceError: There is no such file, it is not UTF-8, or the path is not allowed.
        """
        return decode_text(self._content(path, tracked=tracked), path)

    def write_bytes(self, path: str, content: bytes, mode: int | None = None) -> None:
        """Replace or create a file.

        Args:
            path: The file.
            content: What it holds from now on.
            mode: Permission bits of a new file; None leaves them to the umask.

        Raises:
            PermissionDenied: The bundle may not write it.
            WorkspaceError: The path is not allowed, or the content is too large.
        """
        name = self._writable(path)
        with self._lock:
            self._check_place(name)
            self._learned(name)
            self._put(name, content, mode)

    def write_text(self, path: str, text: str, *, tracked: bool = True) -> None:
        """Replace or create a text file; an existing one keeps its line endings and byte order mark.

        Args:
            path: The file.
            text: What it holds from now on.
            tracked: Whether what was there counts among the `reads`.

        Raises:
            PermissionDenied: The bundle may not write it.
            WorkspaceError: The path is not allowed, or the text cannot be UTF-8 or is too large.
        """
        name = self._writable(path)
        with self._lock:
            self._check_place(name)
            old = self._learned(name) if tracked else self._state(name)
            self._put(name, encode_text(text, old.content, name))

    def delete(self, path: str) -> None:
        """Delete a file.

        Raises:
            PermissionDenied: The bundle may not write it.
            WorkspaceError: There is no such file, or the path is not allowed.
        """
        name = self._writable(path)
        with self._lock:
            if self._learned(name).content is None:
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
            self.reads.note("exists", name, lambda: self._project.answer("exists", name))
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
                self.reads.note("folder", name, lambda: self._project.answer("folder", name))
                raise WorkspaceError(f"{name}: no such folder")
            return self._children(name)

    def search(self, pattern: str, glob: str = "**/*") -> list[dict[str, Any]]:
        """Return the lines that match a regular expression as `{"path", "line", "text"}`, at most 200.

        Ignored files, and what the bundle may not read, are left out. Finding a line is not reading its file.

        Args:
            pattern: A regular expression (RE2), matched line by line.
            glob: Which files, relative to the root.

        Raises:
            WorkspaceError: The pattern is not valid, or the search took too long.
        """
        if self._written:
            self.reads.note("tree", "", lambda: self._project.answer("tree", ""))
        try:
            found = search_lines(pattern, self._files(glob))
        except SearchTimeoutError:
            self.reads.lose("a search took too long")
            raise
        if not self._written:
            self.reads.note("search", json.dumps([pattern, glob]), lambda: digest_of_value(found))
        return found

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
        return self._project.may_read(name)

    def may_write(self, name: str) -> bool:
        """Tell whether the permissions allow to write a normalised path."""
        return self._project.may_write(name)

    def written(self) -> dict[str, tuple[bytes | None, int | None]]:
        """Return content (None: deleted) and mode of every file that the task wrote."""
        with self._lock:
            return {name: (state.content, state.mode) for name, state in self._written.items()}

    def touched(self, name: str) -> bool:
        """Tell whether the task itself wrote a file."""
        with self._lock:
            return name in self._written and self._written[name] is not self._seen.get(name)

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
                self._seen[name] = State(before(), mode)
            self._put(name, after, mode)

    def _name(self, path: str) -> str:
        if not isinstance(path, str):
            raise WorkspaceError(f"{path!r} is not a path: it must be a text")
        name = self._normalised(path)
        if is_private(name):
            raise PermissionDenied(f"{name} belongs to git or to the engine; no bundle may read or write it")
        return name

    def _normalised(self, path: str) -> str:
        if path in self._plain:
            return path
        try:
            name = self._project.normalised(path)
        except WorkspaceError as error:
            self.reads.note("link", path, partial(digest_of_error, error))
            raise
        if name != path:
            self.reads.note("link", path, lambda: name)
        else:
            self._plain.add(path)
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

    def _state(self, name: str) -> State:
        """Return what the task sees, and remember what it saw first."""
        if name in self._written:
            return self._written[name]
        if name not in self._seen:
            self._seen[name] = self._project.live(name)
        return self._seen[name]

    def _learned(self, name: str) -> State:
        """Return what the task sees, and note what the project's own file holds."""
        try:
            state = self._state(name)
        except WorkspaceError as error:
            self.reads.note("file", name, partial(digest_of_error, error))
            raise
        self.reads.note("file", name, lambda: digest_of(self._seen[name].content))
        return state

    def _put(self, name: str, content: bytes | None, mode: int | None = None) -> None:
        old = self._state(name)
        if content is not None and len(content) > MAX_FILE_BYTES:
            raise WorkspaceError(f"{name}: {len(content)} bytes is more than a task may write ({MAX_FILE_BYTES})")
        others = sum(len(state.content or b"") for other, state in self._written.items() if other != name)
        if others + len(content or b"") > MAX_OVERLAY_BYTES:
            raise WorkspaceError(f"the task wrote more than {MAX_OVERLAY_BYTES} bytes in all; write less")
        self._written[name] = State(content, old.mode if old.mode is not None else mode)

    def _check_place(self, name: str) -> None:
        """Refuse a file where a folder is, or below a file."""
        try:
            self._refuse_place(name)
        except WorkspaceError as error:
            self.reads.note("place", name, partial(digest_of_error, error))
            raise

    def _refuse_place(self, name: str) -> None:
        if self._is_folder(name):
            raise WorkspaceError(f"{name} is a folder; name a file")
        above = name.rpartition("/")[0]
        while above:
            if above in self._written and self._written[above].content is not None:
                raise WorkspaceError(f"{above} is a file, so {name} cannot be below it")
            if above not in self._written:
                self._project.check_above(name, above)
            above = above.rpartition("/")[0]

    def _is_folder(self, name: str) -> bool:
        if name == ".":
            return True
        prefix = name + "/"
        if any(other.startswith(prefix) and state.content is not None for other, state in self._written.items()):
            return True
        return name not in self._written and self._project.is_folder(name)

    def _children(self, name: str) -> list[str]:
        prefix = "" if name == "." else name + "/"
        names = self._project.children(name)
        self.reads.note("folder", name, partial(self._project.listed, name, dict(names)))
        for other, state in self._written.items():
            if other.startswith(prefix):
                child, below, _ = other[len(prefix) :].partition("/")
                if state.content is not None:
                    names[child] = bool(below)
                elif not below:
                    names.pop(child, None)
        return self._project.shown(name, names)

    def _files(self, glob: str) -> Iterator[tuple[str, Callable[[], bytes]]]:
        """Yield the files of the view that match, each with a function that reads it."""
        written = self.written()
        for name in sorted(name for name, (content, _) in written.items() if content is not None):
            if self.may_read(name) and glob_match(name, glob):
                yield name, lambda name=name: written[name][0] or b""  # type: ignore[misc] # binds the loop's value
        for name, read in self._project.files(glob, written):
            yield name, lambda name=name, read=read: self._first_seen(name, read)  # type: ignore[misc] # as above

    def _first_seen(self, name: str, read: Callable[[], bytes]) -> bytes:
        with self._lock:
            seen = self._seen.get(name)
        return read() if seen is None else seen.content or b""

"""The project's own files: read and written as decisions need it, one at a time and never half of one."""

from __future__ import annotations

import contextlib
import os
import stat
from hashlib import sha256
from pathlib import Path

from engine.errors import WorkspaceError
from engine.files import atomic_write, is_private, join_inside
from engine.files.atomic import sync_folder


class LiveFile:
    """One file of the project.

    Args:
        root: The project's root.
        path: Posix path relative to it.

    Raises:
        WorkspaceError: No change may touch it.
    """

    def __init__(self, root: Path, path: str) -> None:
        if is_private(path):
            raise WorkspaceError(f"{path} belongs to git or to the engine; no change may touch it")
        self.path = path
        self._target = join_inside(root, path)

    def read(self) -> bytes | None:
        """Return its bytes; None when it does not exist.

        Raises:
            WorkspaceError: It cannot be read, or something else is there.
        """
        try:
            if not stat.S_ISREG(self._target.lstat().st_mode):
                raise WorkspaceError(f"{self.path} is not a plain file any more; move away what is there now")
            return self._target.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise WorkspaceError(f"{self.path} cannot be read: {error.strerror or error}") from error

    def write(self, content: bytes | None, mode: int | None) -> None:
        """Write or, with None, delete it.

        Args:
            content: The new bytes.
            mode: Permission bits; None leaves them as they are, and those of a new file to the umask.

        Raises:
            OSError: That is not possible.
        """
        if content is None:
            self._target.unlink()
            sync_folder(self._target.parent)
        else:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self._target, content, mode, temporary=self._temporary())

    def tidy(self) -> None:
        """Remove what a process left that died while it wrote."""
        with contextlib.suppress(OSError):
            self._temporary().unlink()

    def _temporary(self) -> Path:
        """Name the file that is written first, so that a later process finds what a dead one left."""
        name = sha256(os.fsencode(self._target.name)).hexdigest()[:16]
        return self._target.with_name(f".engine-{name}.tmp")

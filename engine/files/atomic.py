"""One way to write a file: all of it or none of it, also when the process dies."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def atomic_write(
    path: str | Path, data: bytes | str, mode: int | None = None, *, temporary: Path | None = None
) -> None:
    """Replace the content of `path` in one step; readers see the old content or the new one, never a part.

    Args:
        path: The file; its folder must exist. A symbolic link is replaced by a plain file.
        data: The new content; text is written as UTF-8 with its line endings as they are.
        mode: Permission bits; by default those of the file that is replaced, else what the umask leaves of 0o666.
        temporary: The file in the same folder that is written first; by default one with a random name.

    Raises:
        OSError: The file cannot be written; the old content is still there and nothing else is left behind.
    """
    path = Path(path)
    raw = data.encode() if isinstance(data, str) else data
    scratch = temporary or path.with_name(f".engine-{secrets.token_hex(8)}.tmp")
    try:
        _write_scratch(scratch, raw, path, mode)
        scratch.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable, as far as the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_scratch(scratch: Path, raw: bytes, path: Path, mode: int | None) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(scratch, flags, 0o666), "wb") as file:  # noqa: PTH123 - the flags need a descriptor
        _copy_owner_and_mode(file.fileno(), path, mode)
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _copy_owner_and_mode(descriptor: int, path: Path, mode: int | None) -> None:
    """Give the new file the owner (if we may) and the mode of the one it replaces."""
    with contextlib.suppress(FileNotFoundError):
        old = path.lstat()
        if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
            with contextlib.suppress(OSError):
                os.fchown(descriptor, old.st_uid, old.st_gid)
        if mode is None and not path.is_symlink():
            mode = old.st_mode & 0o7777
    if mode is not None:
        os.fchmod(descriptor, mode)

"""The user's cache folder: weights and converted adapters, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from engine.errors import ConfigError
from engine.files import cache_folder


def cache_dir(*parts: str) -> Path:
    """Return a folder in the user's cache, made if needed; `ENGINE_CACHE_DIR` moves the cache.

    Raises:
        ConfigError: The folder cannot be made.
    """
    folder = cache_folder().joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"the cache folder {folder} cannot be made ({error.strerror}): set ENGINE_CACHE_DIR to a writable folder"
        ) from error
    return folder


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock between processes while something is made at `path`; the system frees it when the process dies."""
    lock = path.with_name(path.name + ".lock")
    with lock.open("w") as stream:
        _lock(stream.fileno())
        yield


def _lock(descriptor: int) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        _lock_windows(descriptor)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _lock_windows(descriptor: int) -> None:
    import importlib

    msvcrt = importlib.import_module("msvcrt")
    while True:
        with contextlib.suppress(OSError):
            msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            return


@contextlib.contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; it becomes `target` at the end, or is removed after an error."""
    part = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield part
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)

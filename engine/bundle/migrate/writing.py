"""Writes migrations: in place with the old manifest kept, or as a new folder that appears whole."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

from engine.bundle.migrate.migration import Migration
from engine.errors import ConfigError
from engine.files import atomic_write


def write_in_place(migration: Migration) -> Path:
    """Write the new files, keep the old manifest as `NAME.old`, and replace it last.

    Returns:
        Where the old manifest is kept.

    Raises:
        ConfigError: Something cannot be written, or changed meanwhile; what was there is as it was.
    """
    written: list[Path] = []
    try:
        return _write_all(migration, written)
    except (OSError, ConfigError) as error:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise error if isinstance(error, ConfigError) else _refused(migration, error) from error


def _write_all(migration: Migration, written: list[Path]) -> Path:
    folder, manifest = migration.found.folder, migration.found.manifest
    if manifest.read_bytes() != migration.before:
        raise ConfigError(f"{migration.manifest} changed meanwhile, so it is left as it is; run again")
    for name, content in migration.files.items():
        if name != migration.name:
            _add(folder, name, content, written)
    kept = _free(manifest)
    atomic_write(kept, migration.before)
    written.append(kept)
    # A link to a manifest elsewhere is replaced by a file: the other place keeps what it has.
    atomic_write(folder / migration.name, migration.files[migration.name])
    written.clear()
    if manifest.name != migration.name:
        manifest.unlink()
    return kept


def _add(folder: Path, name: str, content: bytes, written: list[Path]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.parent.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{path.as_posix()}: its folder leads out of the bundle, so nothing is written there")
    if path.is_symlink() or path.exists():
        raise ConfigError(f"{path.as_posix()} is there already, and nothing is overwritten; run again")
    atomic_write(path, content)
    written.append(path)


def _free(manifest: Path) -> Path:
    path, number = manifest.with_name(f"{manifest.name}.old"), 2
    while path.is_symlink() or path.exists():
        path, number = manifest.with_name(f"{manifest.name}.old{number}"), number + 1
    return path


def write_to(migration: Migration, target: Path) -> None:
    """Make the bundle's folder: filled beside its place, then renamed into it.

    Raises:
        ConfigError: The folder is there and not empty, or something cannot be written; nothing is left behind.
    """
    assert migration.source is not None  # noqa: S101 - only converted manifests are written
    scratch = target.with_name(f".engine-{secrets.token_hex(8)}.tmp")
    try:
        check_free(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch.mkdir()
        for name, entry in migration.source.files.items():
            if name != migration.found.manifest.name and name not in migration.files:
                _copy(migration.source.root / name, entry.content, scratch / name)
        for name, content in migration.files.items():
            _write(scratch / name, content)
        os.replace(scratch, target)  # noqa: PTH105 - onto an empty folder, which Path.replace documents as an error
    except OSError as error:
        raise _refused(migration, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_free(target: Path) -> None:
    """Refuse a folder that has something in it.

    Raises:
        ConfigError: It has.
    """
    if target.is_symlink() or (target.exists() and (not target.is_dir() or any(target.iterdir()))):
        raise ConfigError(f"{target.as_posix()} is there already, and nothing is overwritten; name another folder")


def _copy(source: Path, content: bytes | None, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        shutil.copyfile(source, target)
    else:
        target.write_bytes(content)
    shutil.copymode(source, target)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _refused(migration: Migration, error: OSError) -> ConfigError:
    return ConfigError(f"{migration.target} cannot be written: {error.strerror or error}; nothing was changed")

"""Puts the files of a new bundle in their place, all of them in one step."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from engine.errors import ConfigError


def refuse_occupied(folder: Path) -> None:
    """Refuse a place where something is already.

    Raises:
        ConfigError: There is a file, or a folder that is not empty.
    """
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise ConfigError(f"{folder} exists and is no folder: choose another name, or --path")
        if folder.is_dir() and any(folder.iterdir()):
            raise ConfigError(f"the folder {folder} exists and is not empty: choose another name, or --path")
    except OSError as error:
        raise ConfigError(f"{folder} cannot be looked at: {error.strerror}") from error


def place(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into a folder that does not exist yet or is empty.

    They are written beside it first and appear by one rename; whatever fails, nothing is left behind.

    Raises:
        ConfigError: Something is there already, or the folder cannot be written.
    """
    refuse_occupied(folder)
    scratch = folder.with_name(f".{folder.name[:100]}-{secrets.token_hex(4)}")
    made = [parent for parent in folder.parents if not parent.exists()]
    try:
        for name, text in files.items():
            path = scratch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
        scratch.rename(folder)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be made: {error.strerror}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for parent in made:
            _drop_if_empty(parent)


def _drop_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return

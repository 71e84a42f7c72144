"""Older manifests, four shapes of them, become bundles of format 1."""

from __future__ import annotations

from pathlib import Path

from engine.bundle.migrate.finding import Found, find_manifests
from engine.bundle.migrate.migration import Migration, plan
from engine.bundle.migrate.notes import Note
from engine.bundle.migrate.writing import check_free, write_in_place, write_to
from engine.errors import ConfigError

__all__ = ["Migration", "Note", "plan_migrations", "write_migration"]


def plan_migrations(path: Path, to: Path | None = None, name: str | None = None) -> list[Migration]:
    """Return what becomes of each manifest at or below a path; nothing is written.

    Args:
        path: A bundle's folder, a manifest of any shape, or a folder with several.
        to: The folder for the result: of one manifest the bundle itself, of several one folder each in it, at the same
            place as below `path`. None converts in place.
        name: The bundle's name, instead of its own; for a single manifest only.

    Raises:
        ConfigError: There is no manifest; or the arguments do not go together.
    """
    try:
        found = find_manifests(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{path.as_posix()}: {reason}; name a bundle's folder, its manifest, or a folder above"
        ) from error
    if not found:
        raise ConfigError(f"{path.as_posix()}: no bundle.yaml and no *_subagent.yaml in this folder or below it")
    if name is not None and len(found) > 1:
        raise ConfigError(f"{path.as_posix()} has {len(found)} manifests: --name is for one")
    _check_target(to, found)
    return [plan(item, _target(item, to, several=len(found) > 1), name) for item in found]


def _check_target(to: Path | None, found: list[Found]) -> None:
    if to is None:
        return
    for item in found:
        if to.resolve().is_relative_to(item.folder.resolve()) and to.resolve() != item.folder.resolve():
            raise ConfigError(
                f"{to.as_posix()} lies in the bundle {item.folder.as_posix()}: name a folder outside of it"
            )
    check_free(to)


def _target(item: Found, to: Path | None, *, several: bool) -> Path | None:
    if to is None or not several:
        return to
    return to / (item.place if item.place != "." else item.folder.resolve().name)


def write_migration(migration: Migration) -> str | None:
    """Write a converted bundle; return where the old manifest is kept when it was converted in place.

    Raises:
        ConfigError: It cannot be written; nothing is left half done.
    """
    if migration.status != "migrated":
        return None
    if Path(migration.target) == migration.found.folder:
        return write_in_place(migration).as_posix()
    write_to(migration, Path(migration.target))
    return None

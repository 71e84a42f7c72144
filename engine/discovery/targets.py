"""From what the caller named to the files to read."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.diagnostics import did_you_mean
from engine.discovery.languages import language_of
from engine.discovery.model import Note
from engine.discovery.source import SourceFile
from engine.errors import ConfigError
from engine.files import IgnoreRules, find_project_root, is_private, is_utf8, walk
from engine.manifest.languages import LANGUAGES, node_types


@dataclass(frozen=True, slots=True)
class Plan:
    """The files to read, sorted by path, and what is already known to be left out."""

    root: Path
    sources: tuple[SourceFile, ...]
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which nodes are wanted; None means all."""

    languages: tuple[str, ...] | None
    types: tuple[str, ...] | None
    query: str | None


def make_filter(languages: Sequence[str] | None, types: Sequence[str] | None, query: str | None) -> Filter:
    """Check what is wanted against the table of languages.

    Raises:
        ConfigError: A language or node type is unknown.
    """
    _known("language", languages or (), LANGUAGES)
    if query is None:
        _known("node type", types or (), node_types(tuple(languages or ())))
    return Filter(tuple(languages) if languages else None, tuple(types) if types else None, query)


def _known(what: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known) or f"known: {', '.join(known)}"
            raise ConfigError(f"unknown {what} '{name}'; {hint}")


def make_plan(targets: Sequence[str | Path], root: Path | None, wanted: Filter) -> Plan:
    """Find the files below the targets.

    Raises:
        ConfigError: A target does not exist, or lies outside the project's root.
    """
    places = [_existing(target) for target in targets]
    if not places:
        raise ConfigError("no target: name the files or folders to look at")
    if root is None:
        root = find_project_root(Path(os.path.commonpath(places)))
    root = root.resolve()
    sources: dict[str, SourceFile] = {}
    notes: list[Note] = []
    rules = IgnoreRules(root)
    for place in places:
        path = _inside(place, root)
        found = _named(place, path, notes) if place.is_file() else _below(root, path, rules)
        for file in found:
            if wanted.languages is None or file.language in wanted.languages:
                sources.setdefault(file.path, file)
    return Plan(root, tuple(sources[path] for path in sorted(sources)), tuple(notes))


def _existing(target: str | Path) -> Path:
    try:
        return Path(target).resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"{str(target)!r}: no such file or folder; name one that exists") from error


def _inside(place: Path, root: Path) -> str:
    if not place.is_relative_to(root):
        raise ConfigError(f"{place} is outside the project {root}; run from its own project or name another root")
    path = place.relative_to(root).as_posix()
    if not is_utf8(path):
        raise ConfigError(f"{path!r}: the name is not UTF-8; rename it")
    if is_private(path):
        raise ConfigError(f"{place} belongs to git or to the engine; name a folder of the project")
    return path


def _named(place: Path, path: str, notes: list[Note]) -> list[SourceFile]:
    language = language_of(path)
    if language is None:
        notes.append(Note(path, "no known language"))
        return []
    return [SourceFile(path, language, True, place.stat().st_size)]


def _below(root: Path, path: str, rules: IgnoreRules) -> Iterable[SourceFile]:
    """Yield the files of a folder; a folder that is itself ignored but was named counts with its own rules only."""
    start, prefix = root, ""
    if path != "." and rules.ignored_below(path, folder=True):
        start, prefix = root / path, path + "/"
        rules, path = IgnoreRules(start, alone=True), "."
    for entry in walk(start, rules, path):
        language = language_of(entry.path)
        if language is not None and not entry.link:
            yield SourceFile(prefix + entry.path, language, False, entry.stat.st_size)

"""Completes what lies in files: bundles, targets, the nodes in them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from engine.app import App
    from engine.discovery import CodeNode

# A press of the key shall not read a whole project.
_FILES = 50
_MANIFESTS = ("bundle.yaml", "bundle.yml")


def app(ctx: click.Context) -> App:
    """Open the project that the command line so far is about."""
    from engine.app import App

    project = ctx.params.get("project")
    return App.open(Path(project) if project else None)


def starting(values: Sequence[str], incomplete: str) -> list[CompletionItem[str]]:
    """Return the values that begin like the word."""
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]


def bundles(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a bundle: a name from the project's bundle folder, or a folder."""
    opened = app(ctx)
    folder = opened.root / opened.config.bundles
    found = sorted(entry.name for entry in _entries(folder) if _is_bundle(entry))
    return [*starting(found, incomplete), CompletionItem(incomplete, type="dir")]


def files(_: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete a path."""
    return [CompletionItem(incomplete, type="file")]


def targets(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete `FILE` and `FILE::NODE`."""
    file, separator, node = incomplete.partition("::")
    if not separator and not Path(file).is_file():
        return files(ctx, incomplete)
    return [CompletionItem(f"{file}::{name}") for name in _names([Path(file)]) if name.startswith(node)]


def nodes(ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
    """Complete the name of a node in the targets that are given already."""
    given = ctx.params.get("targets") or ctx.params.get("target") or ()
    paths = [given] if isinstance(given, str) else list(given)
    return starting(_names(list(islice(_below(paths), _FILES))), incomplete)


def bundle_folders(ctx: click.Context) -> list[Path]:
    """Return the folders of the bundles that are named on the line so far."""
    opened = app(ctx)
    named = [word for word in ctx.find_root().obj or () if not word.startswith("-")]
    places = [Path(word) if Path(word).exists() else opened.root / opened.config.bundles / word for word in named]
    return [place for place in places if _is_bundle(place)]


def manifest(folder: Path) -> dict[str, object]:
    """Return a bundle's manifest as written; empty if it cannot be read."""
    from engine.manifest import read_yaml

    path = next((folder / name for name in _MANIFESTS if (folder / name).is_file()), None)
    data = read_yaml(path.read_text("utf-8"), str(path)).data if path is not None else None
    return data if isinstance(data, dict) else {}


def sections(folder: Path, name: str) -> dict[str, object]:
    """Return one mapping of a bundle's manifest, with the entries that it inherits by `extends`."""
    found: dict[str, object] = {}
    seen: set[Path] = set()
    while folder.resolve() not in seen:
        seen.add(folder.resolve())
        written = manifest(folder)
        section = written.get(name)
        found = {**section, **found} if isinstance(section, dict) else found
        folder = folder / str(written.get("extends", "."))
    return found


def _is_bundle(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _MANIFESTS)


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _below(paths: Sequence[str | Path]) -> Iterator[Path]:
    """Yield the files below the paths, those of hidden folders left out."""
    for path in map(Path, paths):
        if path.is_file():
            yield path
            continue
        for folder, inner, names in os.walk(path):
            inner[:] = sorted(name for name in inner if not name.startswith("."))
            yield from (Path(folder) / name for name in sorted(names))


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the qualified names of the nodes in some files, each once; a file is no node to choose."""
    found = (node for path in paths for node in _parse(path) if node.type != "file")
    return list(dict.fromkeys(node.qualified_name for node in found))


def _parse(path: Path) -> list[CodeNode]:
    from engine.discovery import language_of, parse_file

    language = language_of(path.name)
    return list(parse_file(path.read_bytes(), path.as_posix(), language)) if language else []

"""What the parts of a conversion share."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.bundle.migrate.old import Old
from engine.bundle.source import BundleSource
from engine.manifest import JsonPath
from engine.manifest.older import Shape


@dataclass(slots=True)
class ToolScript:
    """A script that the new manifest names: its path in the bundle and its text (empty when it is not there)."""

    path: str
    text: str


@dataclass(slots=True)
class Conversion:
    """An old manifest on its way to a new one.

    Attributes:
        old: The old manifest.
        shape: Which of the earlier shapes it has.
        source: The files of the bundle's folder.
        folder: That folder.
        new: The new manifest, filled in key by key.
        files: New files of the bundle by their posix path.
        origins: For paths of the new manifest those of the old one.
        scripts: The scripts that tools and context providers run.
        tools: Names of the tools.
        context: Context providers by path.
    """

    old: Old
    shape: Shape
    source: BundleSource
    folder: Path
    new: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    origins: dict[JsonPath, JsonPath] = field(default_factory=dict)
    scripts: list[ToolScript] = field(default_factory=list)
    tools: list[str] = field(default_factory=list)
    context: dict[str, str] = field(default_factory=dict)

    def put(self, value: Any, *path: str, origin: JsonPath | None = None) -> None:
        """Set a value of the new manifest, and say where it comes from."""
        here = self.new
        for step in path[:-1]:
            here = here.setdefault(step, {})
        here[path[-1]] = value
        if origin is not None:
            self.origins.setdefault(path, origin)

    def text_of(self, name: str) -> str | None:
        """Return the text of a file of the bundle, an added one too; None where there is none."""
        if name in self.files:
            return self.files[name].decode()
        return self.source.text(name)[0] if name in self.source.files else None

    def add_file(self, name: str, content: bytes) -> str:
        """Add a file, under another name where one with other content is there; return the name it has."""
        stem, suffixes = posixpath.basename(name).partition(".")[0], posixpath.basename(name).partition(".")[2]
        chosen, number = name, 2
        while self._taken(chosen, content):
            chosen = posixpath.join(posixpath.dirname(name), f"{stem}-{number}.{suffixes}")
            number += 1
        if chosen not in self.source.files:
            self.files[chosen] = content
        return chosen

    def _taken(self, name: str, content: bytes) -> bool:
        entry = self.source.files.get(name)
        there = self.files.get(name) if entry is None else entry.content
        exists = entry is not None or name in self.files or name in self.source.folders or name in self.source.outside
        return exists and there != content

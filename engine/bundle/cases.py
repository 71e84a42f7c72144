"""The cases of a bundle: what `engine test` runs, each with its place in its file."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from engine.bundle.recordings import is_recording
from engine.bundle.source import MANIFESTS, BundleSource
from engine.diagnostics import Span
from engine.files import glob_match
from engine.manifest import Case, CaseFile, Document, JsonPath, Typed, read_cases, read_yaml, with_repairs


@dataclass(frozen=True, slots=True)
class BundleCase:
    """One case of a bundle.

    Attributes:
        case: The case as written.
        target: The content of the file that it names, or its snippet.
        document: The file that it stands in.
        index: Its position in the file's `cases`.
    """

    case: Case
    target: bytes
    document: Document
    index: int

    @property
    def name(self) -> str:
        """Its name, unique in the bundle."""
        return self.case.name

    def place(self, *path: str | int) -> Span:
        """Return where a part of the case stands, or the nearest part around it that was written."""
        return self.document.positions.key(("cases", self.index, *path))


@dataclass(frozen=True, slots=True)
class CaseSource:
    """A file with cases: as read, and its model with the sound ones."""

    document: Document
    typed: Typed[CaseFile]

    def each(self) -> Iterator[tuple[int, Case]]:
        """Yield the sound cases, each with the author's index."""
        for position, case in enumerate(self.typed.model.cases if self.typed.model else ()):
            yield self.typed.index("cases", position), case

    def place(self, index: int, *path: str | int) -> JsonPath:
        """Return the path of a part of a case."""
        return ("cases", index, *path)


def is_case_file(name: str, pattern: str | None) -> bool:
    """Whether a file of a bundle holds cases.

    Args:
        name: Its posix path in the bundle.
        pattern: The manifest's `tests`.
    """
    if pattern is None or name in MANIFESTS or is_recording(name, pattern):
        return False
    return glob_match(name, posixpath.normpath(pattern))


def case_files(source: BundleSource, pattern: str | None) -> list[str]:
    """Return the names of a bundle's files with cases, sorted."""
    return [name for name in source.files if is_case_file(name, pattern)]


@lru_cache(maxsize=256)
def read_case_file(text: str, shown: str) -> CaseSource:
    """Read a file with cases; the same text is read once.

    Args:
        text: The file.
        shown: Its path as the user would type it.
    """
    document = with_repairs(read_yaml(text, shown), "tests")
    return CaseSource(document, read_cases(document))

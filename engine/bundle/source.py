"""The files of one bundle, read once: from a folder or from a zip, never from outside of it."""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.diagnostics import Diagnostic, Span
from engine.manifest import decode

if TYPE_CHECKING:
    from engine.bundle.extends import Parents
    from engine.manifest import Document

MANIFESTS = ("bundle.yaml", "bundle.yml")
MAX_TEXT = 1024 * 1024
MAX_FILES = 5000
MAX_READ = 64 * 1024 * 1024
SKIPPED = frozenset({".git", ".hg", ".engine", ".venv", "__pycache__", "node_modules"})
# What editors put beside a file: backups, swap files, locks, and what is renamed over it in the end.
_LEFTOVER = re.compile(
    r".*~|\..*\.sw[a-z]|\.#.*|#.*#|4913|\.goutputstream-.*|.*___jb_(tmp|old)___|.*\.kate-swp|\.engine-[0-9a-f]+\.tmp",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its bytes, or, for one too large to be text, only its size and a mark that changes with it."""

    content: bytes | None
    size: int
    mark: str = ""


@dataclass(frozen=True, slots=True)
class BundleSource:
    """What a bundle consists of; one that builds on another has the other's files under its own.

    Attributes:
        shown: The bundle's path as the user would type it.
        root: The folder, or the zip file.
        files: The files by posix path, inherited ones included.
        folders: The posix paths of all folders.
        outside: Symlinks that leave the bundle, and where they lead.
        findings: What was wrong while reading.
        zipped: Whether the root is a zip file.
        inside: The folder of the zip that the bundle lies in; empty for the zip itself.
        parents: The bundles that it builds on, nearest first, each with all that it inherits itself.
        inherited: For each inherited file the parent that it lies in.
        document: The manifest, merged with those of the parents; None where it has not been read yet.
        broken: Whether `extends` names something that cannot be built on; `findings` says why.
        waiting: Folders that are not there, and would be looked at if they were.
        own: The bundle without its parents; None for one that has none.
    """

    shown: str
    root: Path
    files: Mapping[str, Entry]
    folders: frozenset[str]
    outside: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Diagnostic, ...] = ()
    zipped: bool = False
    inside: str = ""
    parents: tuple[BundleSource, ...] = ()
    inherited: Mapping[str, BundleSource] = field(default_factory=dict, repr=False)
    document: Document | None = field(default=None, repr=False, compare=False)
    broken: bool = False
    waiting: tuple[Path, ...] = ()
    own: BundleSource | None = field(default=None, repr=False)

    @property
    def manifest(self) -> str | None:
        """Name of the manifest, or None."""
        return next((name for name in MANIFESTS if name in self.files), None)

    def show(self, name: str) -> str:
        """Return a file's path as the user would type it."""
        shown = self.inherited.get(name, self).shown
        return posixpath.join(shown, name) if shown not in ("", ".") else name

    def place(self, name: str) -> Path:
        """Return where a file lies on disk: in the bundle's folder or in a parent's; for one in a zip, the zip."""
        owner = self.inherited.get(name, self)
        return owner.root if owner.zipped else owner.root / name

    def roots(self) -> tuple[Path, ...]:
        """Return the real paths of all folders and zips that the bundle depends on, its own first.

        A parent that is not there is among them: the bundle changes when it appears.
        """
        roots = (self.root, *(parent.root for parent in self.parents), *self.waiting)
        return tuple(dict.fromkeys(Path(os.path.realpath(root)) for root in roots))

    def text(self, name: str) -> tuple[str | None, list[Diagnostic]]:
        """Return a file's text, or None and why not."""
        entry = self.files[name]
        if entry.content is None:
            message = f"the file has {entry.size} bytes, more than the {MAX_TEXT} that the engine reads"
            return None, [Diagnostic("L007", message, Span(self.show(name)), "make it smaller")]
        return decode(entry.content, self.show(name), MAX_TEXT)

    def edited(self, contents: Mapping[str, bytes]) -> BundleSource:
        """Return the source with other contents in some files, such as those of an editor's unsaved buffers.

        Parents are read anew only when another one is named; a parent's buffers go through `over`.

        Args:
            contents: The new contents by path in the bundle; an inherited file's path makes a file that shadows it.
        """
        own = self.own or self
        fresh = {name: Entry(content, len(content)) for name, content in contents.items()}
        edited = replace(own, files=dict(sorted({**own.files, **fresh}.items())), document=None)
        if self.own is None and not names_parent(edited):
            return edited
        from engine.bundle.extends import relink

        return relink(edited, self)

    def over(self, parent: BundleSource) -> BundleSource:
        """Return the source on another reading of its parent, such as one with unsaved buffers."""
        from engine.bundle.extends import overlay

        return overlay(self.own or self, parent)

    def key(self) -> str:
        """Return a hash of everything that validation can see of the bundle."""
        digest = hashlib.sha256()
        own = self.own or self
        for name in sorted(own.files):
            entry = own.files[name]
            content = entry.content if entry.content is not None else f"{entry.size} {entry.mark}".encode()
            kind = "c" if entry.content is not None else "m"
            digest.update(
                f"{kind}{len(name)}:{len(content)}:".encode() + name.encode("utf-8", "surrogateescape") + content
            )
        links = (f"{name}->{target}" for name, target in sorted(own.outside.items()))
        parents = (f"{parent.shown} {(parent.own or parent).key()}" for parent in self.parents)
        for name in (*sorted(own.folders), *links, *map(repr, self.findings), *parents):
            digest.update(f"f{len(name)}:".encode() + name.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()


def is_leftover(name: str) -> bool:
    """Whether a file's name is one that editors give to backups and the like, which are no part of a bundle."""
    return _LEFTOVER.fullmatch(name) is not None


def names_parent(source: BundleSource) -> bool:
    """Whether the manifest may build on another: a cheap look, so that others pay nothing."""
    entry = source.files.get(source.manifest or "")
    return entry is not None and entry.content is not None and b"extends" in entry.content


def read_folder(folder: Path, shown: str | None = None, parents: Parents | None = None) -> BundleSource:
    """Read a bundle's folder and what it builds on; never raises for what is wrong in it.

    Args:
        folder: The folder.
        shown: Its path as the user would type it.
        parents: The parents that were read already; shared by bundles that are read together.
    """
    return linked(read_own(folder, shown if shown is not None else folder.as_posix()), parents)


def linked(own: BundleSource, parents: Parents | None = None) -> BundleSource:
    """Return a source on the parents that its manifest names; itself when it names none."""
    if not names_parent(own):
        return own
    from engine.bundle.extends import Parents

    return (parents or Parents()).link(own)


def read_own(folder: Path, shown: str) -> BundleSource:
    """Read a bundle's folder without what it builds on."""
    reader = _FolderReader(folder, shown)
    reader.walk("", folder, (os.path.realpath(folder),))
    return BundleSource(
        reader.shown,
        folder,
        dict(sorted(reader.files.items())),
        frozenset(reader.folders),
        reader.outside,
        tuple(reader.findings),
    )


class _FolderReader:
    """Walks one folder; symlinks are followed as long as they stay inside."""

    def __init__(self, folder: Path, shown: str) -> None:
        self.shown = shown
        self.files: dict[str, Entry] = {}
        self.folders: set[str] = set()
        self.outside: dict[str, str] = {}
        self.findings: list[Diagnostic] = []
        self._real = os.path.realpath(folder)
        self._read = 0
        self._full = False

    def walk(self, prefix: str, folder: Path, above: tuple[str, ...]) -> None:
        """Read a folder and those below it; `above` holds the real paths of its parents."""
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            self._report("L006", f"the folder cannot be read: {error.strerror}", prefix, "mend its permissions")
            return
        for entry in entries:
            if entry.name not in SKIPPED and not is_leftover(entry.name) and not self._full:
                self._visit(prefix + entry.name, entry, above)

    def _visit(self, name: str, entry: os.DirEntry[str], above: tuple[str, ...]) -> None:
        try:
            real = entry.path
            if entry.is_symlink():
                real = os.path.realpath(entry.path)
                if real != self._real and not real.startswith(self._real + os.sep):
                    self.outside[name] = real
                    self._report(
                        "L004", f"the symlink leads out of the bundle, to {real}", name, "copy the file into the bundle"
                    )
                    return
            if entry.is_dir():
                self.folders.add(name)
                if len(self.folders) > MAX_FILES:
                    self._stop()
                elif real not in above:
                    self.walk(f"{name}/", Path(entry.path), (*above, os.path.realpath(real)))
                return
            self._file(name, entry.path, entry.stat())
        except OSError as error:
            self._report("L006", f"the file cannot be read: {error.strerror}", name, "mend the link or its permissions")

    def _file(self, name: str, path: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._report("L006", "this is neither a file nor a folder", name, "remove it")
            return
        small = status.st_size <= MAX_TEXT
        self._read += status.st_size if small else 0
        if len(self.files) >= MAX_FILES or self._read > MAX_READ:
            self._stop()
            return
        # A file that grew since it was listed is cut, and reading it as text then reports its size.
        content = _read(path, MAX_TEXT + 1) if small else None
        self.files[name] = Entry(content, status.st_size, f"{status.st_mtime_ns}")

    def _stop(self) -> None:
        self._full = True
        message = f"the bundle has more than {MAX_FILES} files or folders, or more than {MAX_READ} bytes of text"
        self._report("L007", message, "", "a bundle is a folder of its own: keep other files out of it")

    def _report(self, code: str, message: str, name: str, help_text: str) -> None:
        place = posixpath.join(self.shown, name.rstrip("/")) if name else self.shown
        self.findings.append(
            Diagnostic(code, message, Span(place if self.shown != "." or not name else name), help_text)
        )


def _read(path: str, limit: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as handle:
        return handle.read(limit)

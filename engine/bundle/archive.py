"""Bundles in zip files, read in memory: names that escape and contents that explode are findings."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from engine.bundle.source import MANIFESTS, MAX_FILES, SKIPPED, BundleSource, Entry, linked
from engine.diagnostics import Diagnostic, Span

if TYPE_CHECKING:
    from engine.bundle.extends import Parents

MAX_ENTRY = 256 * 1024 * 1024


def read_zip(path: Path, shown: str | None = None, parents: Parents | None = None) -> BundleSource:
    """Read a zip of a bundle's folder (or of its contents); never raises for what is wrong in it.

    Args:
        path: The zip file.
        shown: Its path as the user would type it.
        parents: The parents that were read already; shared by bundles that are read together.
    """
    return linked(read_own_zip(path, shown if shown is not None else path.as_posix()), parents)


def read_own_zip(path: Path, name: str) -> BundleSource:
    """Read a zip without what the bundle in it builds on."""
    files: dict[str, Entry] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            findings = _read_entries(archive, name, files)
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        findings = [Diagnostic("L006", f"not a zip file that can be read: {error}", Span(name), "pack it again")]
    files = dict(sorted(_without_top(files).items()))
    return BundleSource(name, path, files, _folders(files), {}, tuple(findings), zipped=True)


def part_of_zip(whole: BundleSource, inside: str) -> BundleSource:
    """Return a folder of a zip as a bundle of its own."""
    prefix = f"{inside}/"
    files = {name.removeprefix(prefix): entry for name, entry in whole.files.items() if name.startswith(prefix)}
    return BundleSource(whole.show(inside), whole.root, files, _folders(files), zipped=True, inside=inside)


def _folders(files: Iterable[str]) -> frozenset[str]:
    return frozenset({str(parent) for file in files for parent in PurePosixPath(file).parents} - {"."})


def _read_entries(archive: zipfile.ZipFile, shown: str, files: dict[str, Entry]) -> list[Diagnostic]:
    findings: list[Diagnostic] = []
    left = MAX_ENTRY
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        return [Diagnostic("L007", f"the zip has more than {MAX_FILES} entries", Span(shown), "pack only the bundle")]
    for info in infos:
        problem = _refuse(info, files)
        if problem is not None:
            findings.append(
                Diagnostic(problem[0], f"the entry {info.filename!r} {problem[1]}", Span(shown), problem[2])
            )
        elif not info.is_dir() and not SKIPPED.intersection(PurePosixPath(info.filename).parts):
            with archive.open(info) as handle:
                content = handle.read(min(left, info.file_size) + 1)
            left -= len(content)
            if left < 0 or len(content) > info.file_size:
                message = f"the zip unpacks to more than it says, or to more than {MAX_ENTRY} bytes"
                return [*findings, Diagnostic("L007", message, Span(shown), "pack only the bundle")]
            files[info.filename] = Entry(content, len(content))
    return findings


def _refuse(info: zipfile.ZipInfo, files: dict[str, Entry]) -> tuple[str, str, str] | None:
    """Return why an entry is not taken: code, words, way out."""
    name = info.filename
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0] or "\0" in name:
        return "L004", "leaves the bundle", "pack relative names without '..'"
    mode = info.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "L004", "is a link or a device", "pack files only"
    if info.flag_bits & 1:
        return "L006", "is encrypted", "pack it without a password"
    if name in files:
        return "L006", "is there twice", "pack it again"
    return None


def _without_top(files: dict[str, Entry]) -> dict[str, Entry]:
    """Strip the single folder that a zip of a folder begins with."""
    if not files or any(name in files for name in MANIFESTS):
        return files
    tops = {name.split("/", 1)[0] for name in files}
    if len(tops) != 1 or any("/" not in name for name in files):
        return files
    return {name.split("/", 1)[1]: entry for name, entry in files.items()}

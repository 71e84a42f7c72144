"""Applies the certain repairs of findings (`Diagnostic.fix`) to the files of bundles."""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.bundle.locate import locate
from engine.bundle.source import BundleSource
from engine.diagnostics import Diagnostic, Edit, Span
from engine.files import atomic_write

MAX_ROUNDS = 12
_NUMBERS = re.compile(r"\d+")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FileFix:
    """What the repairs make of one file.

    Attributes:
        shown: The file's path as the user would type it.
        path: The file itself; where a link inside the bundle leads.
        before: Its bytes as they were read.
        after: Its bytes with the repairs.
        fixed: The findings that are repaired.
    """

    shown: str
    path: Path
    before: bytes
    after: bytes
    fixed: tuple[Diagnostic, ...]

    @property
    def diff(self) -> str:
        """A unified diff; empty for no change."""
        return unified_diff(self.shown, self.before, self.after)


@dataclass(frozen=True, slots=True)
class Fixes:
    """All repairs of some bundles, and for each that cannot be made in its file, why."""

    files: tuple[FileFix, ...]
    refused: tuple[str, ...] = ()


def plan_fixes(paths: Iterable[str | Path]) -> Fixes:
    """Return what the certain repairs change in the bundles below the paths; nothing is written.

    Repairs are made until none is left: a manifest that can be read again may have more to mend. Zip files are left
    alone, and so is whatever lies outside of the bundle that has the finding.
    """
    files: list[FileFix] = []
    refused: list[str] = []
    for location in locate(paths):
        if location.finding is None:
            source = location.read()
            planned = _plan(source)
            if planned and source.zipped:
                refused.append(f"{source.shown}: a zip is left as it is; unpack it to have it repaired")
            else:
                files += planned
    return Fixes(tuple(files), tuple(refused))


def write_fixes(files: Iterable[FileFix]) -> list[str]:
    """Write the repaired files, each in one step; return for each that could not be written, why."""
    problems = [(item.shown, _write(item)) for item in files]
    return [f"{shown}: {problem}" for shown, problem in problems if problem]


def unified_diff(shown: str, before: bytes, after: bytes, *, fresh: bool = False) -> str:
    """Return the change of a file as `diff -u` writes it.

    Args:
        shown: The file's path.
        before: Its old content.
        after: Its new content.
        fresh: Whether the file does not exist yet.
    """
    old, new = (re.findall(r"[^\n]*\n|[^\n]+", text.decode("utf-8", "replace")) for text in (before, after))
    found = difflib.unified_diff(old, new, "/dev/null" if fresh else shown, shown)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found)


def apply_edits(text: str, edits: Iterable[Edit]) -> tuple[str, tuple[Edit, ...]]:
    """Apply edits of one text together; of those that overlap, the first in the text wins.

    Returns:
        The new text, and the edits that it has.
    """
    starts = [0, *(match.end() for match in re.finditer(r"\r\n|\n|\r", text))]
    taken: list[tuple[int, int, Edit]] = []
    for edit in sorted(set(edits), key=lambda item: (item.span, item.text)):
        begin, end = _offsets(edit.span, starts, len(text))
        if 0 <= begin <= end and (not taken or (begin >= taken[-1][1] and begin > taken[-1][0])):
            taken.append((begin, end, edit))
    parts, at = [], 0
    for begin, end, edit in taken:
        parts += [text[at:begin], edit.text]
        at = end
    return "".join([*parts, text[at:]]), tuple(edit for _, _, edit in taken)


def _offsets(span: Span, starts: Sequence[int], length: int) -> tuple[int, int]:
    if not (0 < span.line <= len(starts) and 0 < span.end_line <= len(starts)):
        return -1, -1
    begin, end = starts[span.line - 1] + span.column - 1, starts[span.end_line - 1] + span.end_column - 1
    return (begin, end) if end <= length else (-1, -1)


def _plan(source: BundleSource) -> list[FileFix]:
    """Repair one bundle in memory, in rounds."""
    names = {source.show(name): name for name in source.files if name not in source.inherited}
    fixed: dict[str, list[Diagnostic]] = {}
    now, findings = source, _findings(source)
    for _ in range(MAX_ROUNDS):
        step = _round(now, findings, names)
        if step is None:
            break
        now, findings, done = step
        for item in done:
            fixed.setdefault(names[item.span.file], []).append(item)
    return [_file_fix(source, now, name, items) for name, items in sorted(fixed.items()) if _differs(source, now, name)]


def _differs(source: BundleSource, now: BundleSource, name: str) -> bool:
    return source.files[name].content != now.files[name].content


def _file_fix(source: BundleSource, now: BundleSource, name: str, fixed: Sequence[Diagnostic]) -> FileFix:
    before, after = source.files[name].content, now.files[name].content
    assert before is not None  # noqa: S101 - only files that were read have edits
    assert after is not None  # noqa: S101 - see above
    path = source.root if source.zipped else Path(os.path.realpath(source.root / name))
    return FileFix(source.show(name), path, before, after, tuple(fixed))


def _findings(source: BundleSource) -> list[Diagnostic]:
    from engine.bundle.check import run_passes
    from engine.bundle.draft import Draft

    return run_passes(Draft(source))


_Step = tuple[BundleSource, list[Diagnostic], list[Diagnostic]]


def _round(source: BundleSource, findings: Sequence[Diagnostic], names: Mapping[str, str]) -> _Step | None:
    """Apply what can be applied together; where that brings up something new, only the first repair that does not."""
    found = [item for item in findings if item.fix is not None and item.fix.span.file in names]
    if not found:
        return None
    for chosen in (found, *([item] for item in found)):
        contents, applied = _edited(source, chosen, names)
        fresh = source.edited(contents)
        after = _findings(fresh)
        if applied and (len(found) == 1 or not _brings_new(findings, after)):
            return fresh, after, [item for item in chosen if item.fix in applied]
    return None


def _brings_new(before: Sequence[Diagnostic], after: Sequence[Diagnostic]) -> bool:
    if any(item.code == "Y001" for item in before):
        return False  # what could not be read had no other findings yet
    return bool(_marks(after) - _marks(before))


def _marks(findings: Sequence[Diagnostic]) -> set[tuple[str, str]]:
    """What is wrong with manifests, without line numbers; a surprising value stays one under its key's right name."""
    return {(item.code, _NUMBERS.sub("#", _said(item))) for item in findings if item.code[0] in "YS"}


def _said(item: Diagnostic) -> str:
    return item.message.partition(": ")[2] if item.code == "Y004" else item.message


def _edited(
    source: BundleSource, found: Sequence[Diagnostic], names: Mapping[str, str]
) -> tuple[dict[str, bytes], set[Edit]]:
    by_file: dict[str, list[Edit]] = {}
    for item in found:
        assert item.fix is not None  # noqa: S101 - the caller's choice
        by_file.setdefault(names[item.fix.span.file], []).append(item.fix)
    contents: dict[str, bytes] = {}
    applied: set[Edit] = set()
    for name, edits in by_file.items():
        raw = source.files[name].content or b""
        mark = _BOM if raw.startswith(_BOM) else b""
        text, used = apply_edits(raw.removeprefix(_BOM).decode("utf-8", "surrogateescape"), edits)
        contents[name] = mark + text.encode("utf-8", "surrogateescape")
        applied.update(used)
    return contents, applied


def _write(item: FileFix) -> str | None:
    try:
        if item.path.read_bytes() != item.before:
            return "it changed meanwhile, so it is left as it is; run again"
        if not stat.S_IMODE(item.path.stat().st_mode) & 0o222:
            return "it is read-only, so it is left as it is; chmod u+w makes it writable"
        atomic_write(item.path, item.after)
    except OSError as error:
        return f"it cannot be written: {error.strerror or error}"
    return None

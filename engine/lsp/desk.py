"""The state of the server: open documents, what is known of their bundles, and the findings that the client shows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.bundle.check import Checked
from engine.bundle.draft import Draft
from engine.bundle.source import MANIFESTS, SKIPPED
from engine.diagnostics import Diagnostic
from engine.lsp.checks import Checker, Findings, check_settings, findings_of, read_bundle
from engine.lsp.documents import Buffer, Buffers, path_of
from engine.lsp.families import Families
from engine.lsp.homes import SETTINGS, homes, kind_of
from engine.lsp.newest import Newest, Worker
from engine.lsp.outline import MAX_TEXT
from engine.lsp.positions import Lines, Place
from engine.lsp.view import Request, View

Publish = Callable[[Path, Sequence[tuple[Diagnostic, Lines]]], None]
"""Shows the findings of a file; each comes with the text that it is about."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check; `checked` is None for a file outside of bundles."""

    findings: Findings
    checked: Checked | None = None


class Desk:
    """What is open, and what has been found.

    Args:
        publish: Shows a file's findings.
    """

    def __init__(self, publish: Publish) -> None:
        self.buffers = Buffers()
        self._publish = publish
        self._families = Families()
        self._checker = Checker()
        self._slow = Worker()
        self._checks: Newest[Path, Result] = Newest(Worker(), self._slow, self._check, self._check_fully, self._done)
        self._active: set[Path] = set()
        self._results: dict[Path, Result] = {}
        self._good: dict[Path, Checked] = {}

    def close(self) -> None:
        """Stop what runs beside the server."""
        self._checker.close()

    async def begin(self, roots: Iterable[Path]) -> None:
        """Learn which bundles of the workspace build on which."""
        await self._scan(roots)

    async def _scan(self, places: Iterable[Path]) -> None:
        await self._slow.do(self._families.scan, tuple(places))
        for buffer in self.buffers:
            self._note(buffer)
        self._refresh()

    # -- what happens in the editor

    def opened(self, uri: str, text: str, version: int) -> None:
        """A document is open."""
        self._edited(self.buffers.put(uri, text, version))

    def changed(self, uri: str, changes: Sequence[object], version: int) -> None:
        """A document has another text."""
        self._edited(self.buffers.change(uri, changes, version))

    def saved(self, uri: str) -> None:
        """A document was saved: now constraints are compiled too."""
        path = path_of(uri)
        for key in self._keys(path) if path is not None else ():
            if key in self._active:
                self._checks.touch(key, thorough=True, late=not _is_near(key, path))

    def closed(self, uri: str) -> None:
        """A document is closed; what was not saved of it is gone."""
        path = self.buffers.close(uri)
        self._refresh()
        if path is not None:
            self._touch(key for key in self._keys(path) if key in self._active)

    async def on_disk(self, paths: Iterable[Path]) -> None:
        """Files or folders were written, made or removed by somebody else."""
        found = [path for path in paths if not SKIPPED.intersection(path.parts)]
        folders = [path for path in found if path.is_dir() or not path.exists()]
        manifests = [path.parent for path in found if path.name in MANIFESTS]
        if folders or manifests:
            await self._scan([*folders, *(folder / name for folder in manifests for name in MANIFESTS)])
        self._refresh()
        below = {key for key in self._active for path in found if path.is_relative_to(key) or key.is_relative_to(path)}
        self._touch({*below, *(heir for key in _homes_of(found) for heir in self._families.heirs(key))})

    def _edited(self, path: Path | None) -> None:
        buffer = self.buffers.get(path) if path is not None else None
        if buffer is not None:
            self._note(buffer)
            self._refresh()
            self._touch(self._keys(buffer.path), buffer.path)

    def _note(self, buffer: Buffer) -> None:
        if buffer.path.name in MANIFESTS:
            self._families.note(buffer.path.parent, buffer.text)

    # -- what is looked at

    def _keys(self, path: Path) -> list[Path]:
        """Return the bundles that a file belongs to, with those that build on them, or the file itself."""
        folders = homes(path, self._open_paths())
        heirs = [heir for folder in folders for heir in sorted(self._families.heirs(folder))]
        alone = [path] if path.name in SETTINGS else []
        return list(dict.fromkeys([*folders, *heirs, *alone]))

    def _open_paths(self) -> set[Path]:
        return {buffer.path for buffer in self.buffers}

    def _refresh(self) -> None:
        """Look at what open documents belong to, and at nothing else."""
        wanted = {key for buffer in self.buffers for key in self._keys(buffer.path)}
        new, gone = wanted - self._active, self._active - wanted
        self._active = wanted
        for key in gone:
            self._checks.forget(key)
            self._good.pop(key, None)
            self._show(key, self._results.pop(key, None), None)
        self._touch(new)

    def _touch(self, keys: Iterable[Path], path: Path | None = None) -> None:
        """Check again; the bundles of the file that was edited go first, before those that build on them."""
        for key in keys:
            if key in self._active:
                self._checks.touch(key, late=path is not None and not _is_near(key, path))

    # -- checks: in other threads, but for `_done`

    def _check(self, key: Path) -> Result:
        if key.name in SETTINGS and not key.is_dir():
            buffer = self.buffers.get(key)
            return Result(check_settings(key, buffer.text if buffer is not None else ""))
        checked = self._checker.check(read_bundle(key, self.buffers.below, tuple(self._active)))
        return Result(findings_of(checked), checked)

    def _check_fully(self, result: Result) -> Result:
        if result.checked is None:
            return result
        checked = self._checker.check_fully(result.checked)
        return Result(findings_of(checked), checked)

    def _done(self, key: Path, result: Result) -> None:
        before = self._results.get(key)
        self._results[key] = result
        if result.checked is not None and self._is_better(key, result.checked.draft):
            self._good[key] = result.checked
        self._show(key, before, result)

    def _is_better(self, key: Path, draft: Draft) -> bool:
        """Whether a draft says more than the last good one: it is whole, or there was none."""
        typed = draft.typed
        return typed is not None and typed.model is not None and (not typed.broken or key not in self._good)

    def _show(self, key: Path, before: Result | None, after: Result | None) -> None:
        old = before.findings.by_file if before is not None else {}
        new = after.findings.by_file if after is not None else {}
        own = (path for path in self._open_paths() if path.is_relative_to(key)) if after is not None else ()
        for path in sorted({*old, *new, *own}):
            self._publish(path, self._found(path))

    def _found(self, path: Path) -> list[tuple[Diagnostic, Lines]]:
        """Return everything that was found in a file, by whichever bundle."""
        found: dict[Diagnostic, Lines] = {}
        for result in self._results.values():
            for item in result.findings.by_file.get(path, ()):
                found.setdefault(item, result.findings.lines[path])
        return sorted(found.items(), key=lambda entry: entry[0].sort_key)

    # -- questions

    async def request(self, uri: str, place: Place) -> Request | None:
        """Return a question about a place in an open document, with the text that it has now."""
        path = path_of(uri)
        buffer = self.buffers.get(path) if path is not None else None
        if buffer is None:
            return None
        offset = Lines(buffer.text).offset(place, self.buffers.encoding)
        folders = homes(buffer.path, self._open_paths())
        if len(buffer.text) > MAX_TEXT:
            return Request(buffer.path, buffer.path.name, "other", buffer.text, offset, None)
        if not folders:
            return Request(buffer.path, buffer.path.name, kind_of(buffer.path.name, None), buffer.text, offset, None)
        view = await self._view(folders[0])
        name = buffer.path.relative_to(folders[0]).as_posix()
        manifest = view.draft.manifest if view is not None and view.draft is not None else None
        return Request(buffer.path, name, kind_of(name, manifest), buffer.text, offset, view)

    async def _view(self, folder: Path) -> View | None:
        if folder not in self._results:
            await self._checks.settle(folder)
        result, good = self._results.get(folder), self._good.get(folder)
        if result is None or result.checked is None:
            return None
        draft = good.draft if good is not None else None
        return View(folder, result.checked.draft.source, draft, self.buffers.below(folder))

    async def findings(self, uri: str) -> tuple[Buffer, list[Diagnostic]] | None:
        """Return an open document and everything that is found in it as it is now."""
        path = path_of(uri)
        if path is None or self.buffers.get(path) is None:
            return None
        for key in self._keys(path):
            await self._checks.settle(key)
        buffer = self.buffers.get(path)
        return (buffer, [item for item, _ in self._found(path)]) if buffer is not None else None


def _is_near(key: Path, path: Path | None) -> bool:
    return path is not None and path.is_relative_to(key)


def _homes_of(paths: Iterable[Path]) -> set[Path]:
    return {folder for path in paths for folder in homes(Path(os.path.normpath(path)), ())}

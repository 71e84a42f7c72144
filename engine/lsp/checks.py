"""The check of one bundle with what is in the editor: the same passes as `engine validate`, on other contents."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from engine.bundle.cache import RecentFindings
from engine.bundle.check import Checked, check_bundles, compile_constraints
from engine.bundle.extends import Parents
from engine.bundle.source import SKIPPED, BundleSource, Entry, linked, names_parent, read_own
from engine.diagnostics import Diagnostic
from engine.files import cache_folder
from engine.lsp.positions import Lines
from engine.manifest import decode, read_engine_config, read_yaml
from engine.tools.warm import WarmChecker


@dataclass(frozen=True, slots=True)
class Findings:
    """What a check found.

    Attributes:
        by_file: The findings by file; a file without findings is not there.
        lines: The text of each of these files, by lines.
    """

    by_file: Mapping[Path, tuple[Diagnostic, ...]]
    lines: Mapping[Path, Lines]


Texts = Callable[[Path], Mapping[str, str]]
"""Returns the texts of the editor below a folder, by posix path in it."""


def read_bundle(folder: Path, texts: Texts, others: Iterable[Path] = ()) -> BundleSource:
    """Read a bundle's folder and those that it builds on, with the texts of the editor in place of what is saved.

    Args:
        folder: The folder, absolute; it need not exist yet.
        texts: The texts of the editor.
        others: Folders of other bundles that have open documents; it may build on them.
    """
    own = _read_own(folder, texts)
    if not names_parent(own):
        return own
    given = [_read_own(other, texts) for other in others if other != folder and other.is_dir()]
    return linked(own, Parents(given=given))


def _read_own(folder: Path, texts: Texts) -> BundleSource:
    shown = folder.as_posix()
    source = read_own(folder, shown) if folder.is_dir() else BundleSource(shown, folder, {}, frozenset())
    mine = {name: text for name, text in texts(folder).items() if not SKIPPED.intersection(name.split("/"))}
    fresh = {name: text.encode("utf-8", "surrogatepass") for name, text in mine.items()}
    entries = {name: Entry(content, len(content)) for name, content in fresh.items()}
    return replace(source, files=dict(sorted({**source.files, **entries}.items())))


class Checker:
    """Checks bundles again and again; one thread at a time."""

    def __init__(self) -> None:
        self._scripts = WarmChecker(cache_folder())
        self._constraints = RecentFindings()

    def check(self, source: BundleSource) -> Checked:
        """Check a bundle, its constraints as far as they were compiled before; never raises for what is wrong in it."""
        checked = check_bundles([source], checker=self._scripts)[0]
        return compile_constraints([checked], self._constraints, known_only=True)[0] or checked

    def check_fully(self, checked: Checked) -> Checked:
        """Return the bundle with what is wrong with its constraints; compiling new ones takes seconds."""
        return compile_constraints([checked], self._constraints)[0] or checked

    def close(self) -> None:
        """Stop the type checker's workers."""
        self._scripts.__exit__(None, None, None)


def findings_of(checked: Checked) -> Findings:
    """Sort what was found by file; what is about no file of the bundle stands at its manifest."""
    source = checked.draft.source
    texts = _texts(source)
    manifest = source.place(source.manifest or "bundle.yaml")
    by_file: dict[Path, list[Diagnostic]] = {}
    lines: dict[Path, Lines] = {}
    for item in checked.diagnostics:
        shown = os.path.normpath(item.span.file)
        path = Path(shown) if shown in texts else _outside(item, manifest)
        by_file.setdefault(path, []).append(item)
        if path not in lines:
            lines[path] = Lines(texts.get(str(path), _nothing)())
    return Findings({path: tuple(items) for path, items in by_file.items()}, lines)


def _texts(source: BundleSource) -> dict[str, Callable[[], str]]:
    """Return a way to the text of each file of a bundle and of those that it builds on, by its path."""
    owners = [owner.own or owner for owner in (*reversed(source.parents), source)]
    return {os.path.normpath(owner.show(name)): partial(_text, owner, name) for owner in owners for name in owner.files}


def _text(source: BundleSource, name: str) -> str:
    return source.text(name)[0] or ""


def _nothing() -> str:
    return ""


def _outside(item: Diagnostic, manifest: Path) -> Path:
    path = Path(os.path.normpath(item.span.file))
    return path if path.is_absolute() and path.is_file() else manifest


def check_settings(path: Path, text: str) -> Findings:
    """Check an engine.yaml."""
    content, found = decode(text.encode("utf-8", "surrogatepass"), str(path))
    if content is not None:
        found = list(read_engine_config(read_yaml(content, str(path))).diagnostics)
    return Findings({path: tuple(found)} if found else {}, {path: Lines(text)})

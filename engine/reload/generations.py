"""From changed files to the next generation: what is read and checked again, what is taken, and what has to wait."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.bundle.bundle import Bundle
from engine.bundle.cache import RecentFindings
from engine.bundle.catalog import Catalog, Frozen, freeze
from engine.bundle.check import Checked, check_bundles, compile_constraints
from engine.bundle.locate import Location, locate
from engine.bundle.source import MANIFESTS, SKIPPED, BundleSource, is_leftover
from engine.diagnostics import Diagnostic
from engine.reload.also import Also
from engine.reload.places import is_folder
from engine.reload.settling import Settling, changed_files, is_half_done, is_large, same_bundle
from engine.tools import ScriptChecker

# A save that goes on while it is looked at is looked at again, so many times.
_READS = 5


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of a change.

    Attributes:
        catalog: The catalog in force now.
        previous: The one before; the same where nothing was accepted.
        changed: Names of the bundles that were added, replaced or removed in it.
        diagnostics: Every finding about the files as they are now, sorted; also about bundles whose last good version
            stays in the catalog.
        files: The files that changed, as the user would type them.
        accepted: Whether this is a new generation.
    """

    catalog: Catalog
    previous: Catalog
    changed: frozenset[str]
    diagnostics: tuple[Diagnostic, ...]
    files: tuple[str, ...]
    accepted: bool


@dataclass(frozen=True, slots=True)
class Held:
    """One bundle as it was last taken.

    Attributes:
        location: Where it is.
        source: Its files.
        checked: The bundle after the passes; None once the findings of its constraints are in.
        frozen: What the catalog has of it.
        good: The last version without an error.
        roots: The real paths of the folders and zips that it depends on.
    """

    location: Location
    source: BundleSource
    checked: Checked | None
    frozen: Frozen
    good: Bundle | None
    roots: tuple[str, ...]


class Generations:
    """The bundles below some paths, looked at again when files change; for one thread.

    Args:
        paths: Folders, zip files and manifests.
        also: Further files whose changes are told.
        checker: Checks the scripts' types.
        constraints: Remembers what was found in constraints.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        also: Iterable[str | Path],
        checker: ScriptChecker,
        constraints: RecentFindings,
    ) -> None:
        self.paths = tuple(map(Path, paths))
        self.catalog = Catalog()
        self.diagnostics: tuple[Diagnostic, ...] = ()
        self._also = Also(also)
        self._checker, self._constraints = checker, constraints
        self._held: dict[str, Held] = {}
        self._locations: dict[str, Location] = {}
        self._shown: dict[str, str] = {}
        self._found: tuple[Diagnostic, ...] = ()
        self._found_now: tuple[Diagnostic, ...] = ()
        self._settling = Settling()
        self._ahead: dict[str, tuple[str, Checked]] = {}

    @property
    def count(self) -> int:
        """Number of bundles that were found, valid or not."""
        return len(self._locations)

    def roots(self) -> frozenset[str]:
        """Return the real paths of everything that the bundles depend on."""
        return frozenset(root for held in self._held.values() for root in held.roots)

    def due(self) -> float | None:
        """Return when something that waits has to be looked at."""
        return self._settling.due()

    def load(self) -> Catalog:
        """Read and check everything: generation 1."""
        self._locate()
        for key, source, checked in self._fresh(list(self._locations)):
            self._take(key, source, checked)
        self.compile(self.uncompiled())
        self._merge_compiled()
        self.catalog = self._assemble(1)
        self.diagnostics = self.catalog.diagnostics
        return self.catalog

    def look(self, touched: Collection[str] | None, now: float) -> Reload | None:
        """Look at what changed; None when nothing came of it.

        Args:
            touched: Absolute paths of files; None to look at everything.
            now: Seconds of a clock that never goes back.
        """
        due = self._settling.take_due(now)
        if touched is not None:
            touched = [path for path in touched if not _is_ignored(path)]
        if touched is None or self._gone().intersection(due) or any(map(self._moves_bundles, touched)):
            self._locate()
        files: list[str] = []
        dirty = self._dirty(touched)
        for key, source, checked in self._fresh(list(dict.fromkeys([*dirty, *due]))):
            is_final = key in due and (touched is None or key not in dirty)
            files += self._settle(key, source, checked, now, final=is_final)
        files += self._let_go(due, now)
        self._merge_compiled()
        files += self._also.look(touched, self._settling, due, now)
        return self._reload(files)

    def check_ahead(self, touched: Collection[str]) -> None:
        """Check bundles whose files were touched, so that the next look has it done; takes nothing.

        Args:
            touched: Absolute paths of files.
        """
        touched = [path for path in touched if not _is_ignored(path)]
        if any(map(self._moves_bundles, touched)):
            return
        sources = self._read(self._dirty(touched))
        found = check_bundles(list(sources.values()), checker=self._checker) if sources else []
        pairs = zip(sources.items(), found, strict=True)
        self._ahead = {key: (source.key(), checked) for (key, source), checked in pairs}

    def uncompiled(self) -> list[Checked]:
        """Return the bundles whose constraints still have to be compiled."""
        return [held.checked for held in self._held.values() if held.checked is not None]

    def compile(self, bundles: Sequence[Checked]) -> None:
        """Compile constraints, so that the next look finds them compiled; may run in another thread."""
        if bundles:
            compile_constraints(bundles, self._constraints)

    def _locate(self) -> None:
        locations = locate(self.paths)
        self._locations = {
            os.path.realpath(location.path): location for location in locations if location.finding is None
        }
        self._shown = {key: location.shown for key, location in self._locations.items()}
        self._found_now = tuple(location.finding for location in locations if location.finding is not None)

    def _moves_bundles(self, path: str) -> bool:
        """Whether a bundle came, or went, with a file."""
        folder, name = os.path.split(path)
        if name in MANIFESTS:
            return (folder in self._locations) != any(os.path.lexists(f"{folder}/{one}") for one in MANIFESTS)
        return any(path == os.path.realpath(given) for given in self.paths)

    def _dirty(self, touched: Collection[str] | None) -> list[str]:
        """Return the bundles that depend on what was touched, and those that have not been seen yet."""
        if touched is None:
            return list(self._locations)
        found = []
        for key in self._locations:
            held = self._held.get(key)
            is_new = held is None and not self._settling.is_known(key)
            roots = held.roots if held else (key,)
            if is_new or any(_concerns(path, root) for root in roots for path in touched):
                found.append(key)
        return found

    def _fresh(self, keys: Sequence[str]) -> list[tuple[str, BundleSource, Checked]]:
        """Read bundles, and check those that changed; until they stand still while they are checked."""
        sources = self._read(keys)
        ahead, self._ahead = self._ahead, {}
        checked = {key: item for key, (mark, item) in ahead.items() if key in sources and sources[key].key() == mark}
        for _ in range(_READS):
            missing = [key for key in sources if key not in checked]
            if not missing:
                break
            found = check_bundles([sources[key] for key in missing], checker=self._checker)
            checked.update(zip(missing, found, strict=True))
            again = self._read(list(sources))
            moved = [key for key in sources if key not in again or again[key].key() != sources[key].key()]
            if not moved:
                break
            sources = again
            checked = {key: item for key, item in checked.items() if key in sources and key not in moved}
        return [(key, source, checked[key]) for key, source in sources.items() if key in checked]

    def _read(self, keys: Iterable[str]) -> dict[str, BundleSource]:
        """Read bundles; return those that are not as they were taken."""
        from engine.bundle.extends import Parents

        parents = Parents(self._shown)
        sources = {}
        for key in keys:
            if key not in self._locations:
                continue
            source, held = self._locations[key].read(parents), self._held.get(key)
            if held is None or held.source.key() != source.key():
                sources[key] = source
            else:
                self._settling.settle(key)
        return sources

    def _settle(self, key: str, source: BundleSource, checked: Checked, now: float, *, final: bool) -> list[str]:
        """Take a bundle unless it looks like half of a change; return the files that changed."""
        held = self._held.get(key)
        was_valid = held is not None and held.frozen.bundle is not None
        before = held.source if held else None
        half_done = is_half_done(before, source, was_valid=was_valid, is_valid=checked.valid)
        if half_done and not final and self._settling.wait(key, now):
            return []
        self._settling.settle(key)
        return self._take(key, source, checked)

    def _take(self, key: str, source: BundleSource, checked: Checked) -> list[str]:
        held = self._held.get(key)
        frozen = freeze(checked)
        if held and held.good and frozen.bundle and same_bundle(held.good, frozen.bundle):
            frozen = replace(frozen, bundle=held.good)
        good = frozen.bundle or (held.good if held else None)
        roots = tuple(map(str, source.roots()))
        self._held[key] = Held(self._locations[key], source, checked, frozen, good, roots)
        if held is None:
            return [source.show(source.manifest) if source.manifest else source.shown]
        names = changed_files(held.source, source)
        only_marks = all(is_large(held.source, name) and is_large(source, name) for name in names)
        return [] if only_marks and frozen.bundle is held.frozen.bundle else [source.show(name) for name in names]

    def _gone(self) -> set[str]:
        return {key for key in self._held if key not in self._locations}

    def _let_go(self, due: Collection[str], now: float) -> list[str]:
        """Let go of bundles that are gone for good, and return their manifests."""
        goods = (self._held[key].good for key in self._locations if key in self._held)
        names = {bundle.name for bundle in goods if bundle}
        files = []
        for key in self._gone():
            held = self._held[key]
            is_renamed = held.good is not None and held.good.name in names
            if not is_renamed and self._may_return(key, held, due, now):
                continue
            del self._held[key]
            self._settling.settle(key)
            files.append(held.source.show(held.source.manifest or ""))
        return files

    def _may_return(self, key: str, held: Held, due: Collection[str], now: float) -> bool:
        """Whether a bundle that is not there is kept: for a while, or as long as its path cannot be looked at."""
        lost = self._is_lost(held)
        if key in self._settling.given_up and lost:
            return True
        if key in due and lost:
            self._settling.give_up(key)
        elif key not in due and not self._settling.waits(key):
            self._settling.given_up.discard(key)
            self._settling.wait(key, now)
        return lost or key not in due

    def _is_lost(self, held: Held) -> bool:
        """Whether a bundle is not there because something on its path is not as it should be."""
        place = held.location.path.absolute()
        for given in (path.absolute() for path in self.paths):
            folder = given.parent if given.name in MANIFESTS else given
            if place == folder or (place.is_relative_to(given) and not is_folder(given)):
                return True
        unreadable = (Path(item.span.file).absolute() for item in self._found_now if item.code == "L006")
        return any(place.is_relative_to(folder) for folder in unreadable)

    def _merge_compiled(self) -> None:
        """Add what compiling found to bundles that lack it, as far as it is known."""
        waiting = {key: held.checked for key, held in self._held.items() if held.checked is not None}
        found = compile_constraints(list(waiting.values()), self._constraints, known_only=True)
        for key, item in zip(waiting, found, strict=True):
            if item is not None:
                frozen = self._held[key].frozen
                merged = sorted({*item.diagnostics, *frozen.diagnostics}, key=lambda one: one.sort_key)
                frozen = replace(frozen, diagnostics=tuple(merged))
                self._held[key] = replace(self._held[key], checked=None, frozen=frozen)

    def _assemble(self, generation: int) -> Catalog:
        here = [self._held[key] for key in self._locations if key in self._held]
        # While a bundle that is gone may come back, nothing new is said about its place.
        missing = self._gone() - self._settling.given_up
        if not missing:
            self._found = self._found_now
        found = [*self._found, *(item for key in missing for item in self._held[key].frozen.diagnostics)]
        spare = [held.good for held in self._held.values() if held.good is not None]
        return Catalog.assemble(generation, found, [held.frozen for held in here], spare)

    def _reload(self, files: Sequence[str]) -> Reload | None:
        previous, next_ = self.catalog, self._assemble(self.catalog.generation + 1)
        changed = _differing(previous.bundles, next_.bundles)
        if not changed and not files and next_.diagnostics == self.diagnostics:
            return None
        self.diagnostics = next_.diagnostics
        if changed:
            self.catalog = next_
        names = tuple(sorted(set(files)))
        return Reload(self.catalog, previous, changed, self.diagnostics, names, bool(changed))


def _differing(before: Mapping[str, Bundle], after: Mapping[str, Bundle]) -> frozenset[str]:
    return frozenset(name for name in {*before, *after} if before.get(name) is not after.get(name))


def _concerns(path: str, root: str) -> bool:
    """Whether a path is a folder, or lies in it, or above it."""
    return (
        path == root or path.startswith(root.rstrip(os.sep) + os.sep) or root.startswith(path.rstrip(os.sep) + os.sep)
    )


def _is_ignored(path: str) -> bool:
    name = Path(path).name
    return name in SKIPPED or is_leftover(name)

"""Everything that is wrong with every bundle below some paths, in one go."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.bundle.cache import FindingsCache, engine_mark
from engine.bundle.locate import locate, parents_of
from engine.bundle.source import BundleSource
from engine.diagnostics import Diagnostic

_BATCH = 200


@dataclass(frozen=True, slots=True)
class Validation:
    """What came of a validation.

    Attributes:
        diagnostics: All findings, sorted.
        bundles: Number of bundles that were looked at.
    """

    diagnostics: tuple[Diagnostic, ...]
    bundles: int


def validate(paths: Iterable[str | Path], *, use_cache: bool = True) -> list[Diagnostic]:
    """Return every finding of every bundle below the paths, sorted; never raises for bad input.

    Args:
        paths: Folders, zip files and manifests.
        use_cache: Whether bundles and scripts that have not changed are spared.
    """
    return list(validation(paths, use_cache=use_cache).diagnostics)


def validation(paths: Iterable[str | Path], *, use_cache: bool = True) -> Validation:
    """Validate, and count the bundles."""
    locations = locate(paths)
    found = [location.finding for location in locations if location.finding is not None]
    bundles = [location for location in locations if location.finding is None]
    parents = parents_of(bundles)
    # In batches: the files of a thousand bundles need not be in memory together.
    for start in range(0, len(bundles), _BATCH):
        sources = [location.read(parents) for location in bundles[start : start + _BATCH]]
        found += _validate(sources, use_cache=use_cache)
    return Validation(tuple(sorted(set(found), key=lambda item: item.sort_key)), len(bundles))


def _validate(sources: Sequence[BundleSource], *, use_cache: bool) -> list[Diagnostic]:
    if not use_cache:
        return _check(sources, {}, use_cache=False)
    store = FindingsCache()
    keys = {_key(source): source for source in sources}
    known = store.load(keys)
    missing = {key: source for key, source in keys.items() if key not in known}
    found = [item for items in known.values() for item in items]
    fresh: dict[str, Sequence[Diagnostic]] = {}
    found += _check(list(missing.values()), fresh, use_cache=True)
    store.store({key: fresh[source.shown] for key, source in missing.items() if _final(fresh[source.shown])})
    return found


def _final(findings: Sequence[Diagnostic]) -> bool:
    """Whether the next look would find the same: a type checker that ran out of time may do better then."""
    return not any(item.code == "T006" and item.message.startswith("the type checker gave up") for item in findings)


def _check(
    sources: Sequence[BundleSource], by_bundle: dict[str, Sequence[Diagnostic]], *, use_cache: bool
) -> list[Diagnostic]:
    if not sources:
        return []
    from engine.bundle.check import check_bundles

    found: list[Diagnostic] = []
    for source, checked in zip(sources, check_bundles(sources, use_cache=use_cache, compiled=True), strict=True):
        by_bundle[source.shown] = checked.diagnostics
        found += checked.diagnostics
    return found


def _key(source: BundleSource) -> str:
    # Findings name files as the user typed them, so the same bundle under another path is another key.
    return hashlib.sha256(
        f"{engine_mark()}\0{source.shown}\0{source.key()}".encode(errors="surrogateescape")
    ).hexdigest()

"""Whose finding it is: what is wrong with a parent alone is said once, whoever builds on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.bundle.extends.link import identity
from engine.bundle.source import BundleSource
from engine.diagnostics import Diagnostic

if TYPE_CHECKING:
    from engine.bundle.check import Checked

Check = Callable[[Sequence[BundleSource]], Sequence["Checked"]]


def settle(checked: Sequence[Checked], check: Check) -> list[Checked]:
    """Return the bundles with their findings in parents' files told apart.

    A finding that the parent has by itself is the parent's, word for word, so that many children report it once. One
    that it has only as a part of a child names the child.

    Args:
        checked: Bundles after their passes.
        check: Checks further bundles; called with parents in whose files something was found.
    """
    known = {item.draft.source.shown: item for item in checked}
    return [_settled(item, known, check) if _builds(item.draft.source) else item for item in checked]


def _builds(source: BundleSource) -> bool:
    return bool(source.parents) and not source.broken


def _settled(item: Checked, known: dict[str, Checked], check: Check) -> Checked:
    owners = _owners(item.draft.source)
    if not any(finding.span.file in owners for finding in item.diagnostics):
        return item
    found = [
        _of_parent(finding, item.draft.source, owners[finding.span.file], known, check)
        if finding.span.file in owners
        else finding
        for finding in item.diagnostics
    ]
    return replace(item, diagnostics=tuple(sorted(dict.fromkeys(found), key=lambda finding: finding.sort_key)))


def _owners(source: BundleSource) -> dict[str, BundleSource]:
    """Return the parent that each file of a parent belongs to, by its path as shown.

    Bundles may lie in each other's folders: a file belongs to the innermost.
    """
    bundles = sorted((source, *source.parents), key=lambda bundle: len(identity(bundle)))
    owners = {bundle.show(name): bundle for bundle in bundles for name in (bundle.own or bundle).files}
    return {file: owner for file, owner in owners.items() if owner is not source}


def _of_parent(
    finding: Diagnostic, child: BundleSource, parent: BundleSource, known: dict[str, Checked], check: Check
) -> Diagnostic:
    if parent.shown not in known:
        (known[parent.shown],) = check([parent])
    same = [
        other for other in known[parent.shown].diagnostics if (other.code, other.span) == (finding.code, finding.span)
    ]
    if same:
        return next((other for other in same if other.message == finding.message), same[0])
    return replace(finding, message=f"{finding.message} (as {child.shown} inherits it)")

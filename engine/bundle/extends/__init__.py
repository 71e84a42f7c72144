"""Bundles that build on another: whose files lie under their own, and whose manifest theirs is merged over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.bundle.extends.blame import settle
    from engine.bundle.extends.link import Parents, overlay, relink
    from engine.bundle.extends.merging import merge
    from engine.bundle.extends.resolved import DEFAULT, Resolved, resolve
    from engine.bundle.extends.showing import Shown, show_manifest
    from engine.bundle.extends.writing import to_yaml

__all__ = [
    "DEFAULT",
    "Parents",
    "Resolved",
    "Shown",
    "merge",
    "overlay",
    "relink",
    "resolve",
    "settle",
    "show_manifest",
    "to_yaml",
]

__getattr__ = lazy(
    __name__,
    {
        "blame": ("settle",),
        "link": ("Parents", "overlay", "relink"),
        "merging": ("merge",),
        "resolved": ("DEFAULT", "Resolved", "resolve"),
        "showing": ("Shown", "show_manifest"),
        "writing": ("to_yaml",),
    },
)

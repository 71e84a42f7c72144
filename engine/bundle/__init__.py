"""Bundles: from a folder or zip to a checked, frozen Bundle; validation, and the Catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.bundle.bundle import Bundle, BundleContext, BundleTool
    from engine.bundle.catalog import BundleSummary, Catalog, summarise
    from engine.bundle.load import load_bundle
    from engine.bundle.locate import find_bundles
    from engine.bundle.validating import Validation, validate, validation

__all__ = [
    "Bundle",
    "BundleContext",
    "BundleSummary",
    "BundleTool",
    "Catalog",
    "Validation",
    "find_bundles",
    "load_bundle",
    "summarise",
    "validate",
    "validation",
]

# Loaded on first use: validating an unchanged bundle needs none of the template, script or grammar rooms.

__getattr__ = lazy(
    __name__,
    {
        "bundle": ("Bundle", "BundleContext", "BundleTool"),
        "catalog": ("BundleSummary", "Catalog", "summarise"),
        "load": ("load_bundle",),
        "locate": ("find_bundles",),
        "validating": ("Validation", "validate", "validation"),
    },
)

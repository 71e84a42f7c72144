"""New bundles: what a person wants, the files that come of it, and a folder that is there as a whole or not at all."""

from __future__ import annotations

from engine.bundle.scaffold.fill import fill, sample
from engine.bundle.scaffold.outline import DESCRIPTIONS, KINDS, Outline, check_name, outline
from engine.bundle.scaffold.place import place, refuse_occupied

__all__ = [
    "DESCRIPTIONS",
    "KINDS",
    "Outline",
    "check_name",
    "fill",
    "outline",
    "place",
    "refuse_occupied",
    "sample",
]

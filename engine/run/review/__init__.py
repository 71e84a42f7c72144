"""Review of a run: what it offers, which of that is meant, and what becomes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.run.review.offering import offer_of
    from engine.run.review.review import Review
    from engine.run.review.where import Where

__all__ = ["Review", "Where", "offer_of"]

__getattr__ = lazy(__name__, {"offering": ("offer_of",), "review": ("Review",), "where": ("Where",)})

"""The cache of task results: what nothing changed for is not asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.run.cache.hit import Hit, saved

__all__ = ["Hit", "saved"]

__getattr__ = lazy(__name__, {"hit": ("Hit", "saved")})

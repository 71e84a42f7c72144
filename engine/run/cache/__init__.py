"""The cache of task results: what nothing changed for is not asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.run.cache.hit import Hit, saved
    from engine.run.cache.key import TaskKey, why_uncachable
    from engine.run.cache.runner import CachedRunner
    from engine.run.cache.store import Stats, TaskCache
    from engine.run.cache.using import CACHE, CacheUse, RunCache, open_run_cache

__all__ = [
    "CACHE",
    "CacheUse",
    "CachedRunner",
    "Hit",
    "RunCache",
    "Stats",
    "TaskCache",
    "TaskKey",
    "open_run_cache",
    "saved",
    "why_uncachable",
]

__getattr__ = lazy(
    __name__,
    {
        "hit": ("Hit", "saved"),
        "key": ("TaskKey", "why_uncachable"),
        "runner": ("CachedRunner",),
        "store": ("Stats", "TaskCache"),
        "using": ("CACHE", "CacheUse", "RunCache", "open_run_cache"),
    },
)

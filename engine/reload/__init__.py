"""Hot reload: watches bundles and swaps in a new generation of the Catalog when their files change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.reload.generations import Reload
    from engine.reload.watcher import Watcher

__all__ = ["Reload", "Watcher"]

__getattr__ = lazy(__name__, {"generations": ("Reload",), "watcher": ("Watcher",)})

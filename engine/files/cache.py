"""The user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return the user's cache folder, which need not exist; `ENGINE_CACHE_DIR` moves it."""
    from platformdirs import user_cache_dir

    return Path(os.environ.get("ENGINE_CACHE_DIR") or user_cache_dir("engine")).expanduser()

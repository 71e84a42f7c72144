"""Globs over posix paths: `**` is any number of folders, `*`, `?` and `[…]` stay inside one name.

The match takes time in proportion to path times pattern, whatever the pattern: patterns may come from a model.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache


def glob_match(path: str, pattern: str) -> bool:
    """Tell whether the whole relative path matches; `src/**` means everything below `src`."""
    names = path.split("/")
    alive = {0}  # positions in the pattern that can still match; advanced one name at a time
    steps = _compiled(pattern)
    for name in names:
        alive = _advance(_skip_empty(alive, steps), steps, name)
        if not alive:
            return False
    return any(_ends(position, steps) for position in alive)


def matches_any(path: str, patterns: Iterable[str]) -> bool:
    """Tell whether one of the globs matches the path."""
    return any(glob_match(path, pattern) for pattern in patterns)


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> tuple[re.Pattern[str] | None, ...]:
    """Split into one regular expression per name; None stands for `**`."""
    parts = [part for part in pattern.removeprefix("./").split("/") if part]
    return tuple(None if part == "**" else re.compile(fnmatch.translate(_squeeze(part))) for part in parts)


def _squeeze(part: str) -> str:
    return re.sub(r"\*+", "*", part)


def _skip_empty(alive: set[int], steps: tuple[re.Pattern[str] | None, ...]) -> set[int]:
    """Add the positions that are reached when a `**` matches no folder."""
    reached = set(alive)
    for position in sorted(alive):
        here = position
        while here < len(steps) - 1 and steps[here] is None:
            here += 1
            reached.add(here)
    return reached


def _advance(alive: set[int], steps: tuple[re.Pattern[str] | None, ...], name: str) -> set[int]:
    after: set[int] = set()
    for position in alive:
        if position >= len(steps):
            continue
        step = steps[position]
        if step is None:
            after.update((position, position + 1) if position == len(steps) - 1 else (position,))
        elif step.match(name):
            after.add(position + 1)
    return after


def _ends(position: int, steps: tuple[re.Pattern[str] | None, ...]) -> bool:
    """Tell whether the pattern is used up."""
    return position == len(steps)

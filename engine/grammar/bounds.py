"""How large the parts of a reply may get where the schema does not say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

STEPS = 24
_FLOOR_STRING = 24


@dataclass(frozen=True, slots=True)
class Bounds:
    """Default bounds; a schema's own bounds come first.

    Attributes:
        string: Characters of a string.
        items: Items of an array, members of a free object.
        digits: Digits of a number before its point.
        depth: Levels of a value of any type.
        recursion: How often a schema may enter the same `$ref` again.
    """

    string: int = 4000
    items: int = 64
    digits: int = 16
    depth: int = 4
    recursion: int = 3

    def inner(self) -> Bounds:
        """Return the bounds of what stands inside an array or a free object: there may be many of it."""
        return replace(self, string=max(_FLOOR_STRING, self.string // 4), items=max(2, self.items // 2))

    def string_range(self, low: int, high: int | None) -> tuple[int, int]:
        """Return the bounds of a string whose schema gives `low` and `high` (None is no bound)."""
        return low, max(self.string, low) if high is None else high

    def shrunk(self, step: int) -> Bounds:
        """Return smaller bounds: step 0 is these, step 24 the smallest that are still of use."""
        return Bounds(
            string=max(_FLOOR_STRING, int(self.string * 0.8**step)),
            items=max(2, int(self.items * 0.85**step)),
            digits=max(6, self.digits - step // 2),
            depth=max(2, self.depth - step // 6),
            recursion=max(1, self.recursion - step // 8),
        )


DEFAULT_BOUNDS = Bounds()


def fit(bounds: Bounds, longest: Callable[[Bounds], int], max_tokens: int) -> Bounds:
    """Return the largest bounds with which every reply ends within its token limit, as far as the schemas allow it.

    A runaway reply of a small model has about one character a token (measured: 1.1), so the longest reply gets as
    many characters as
    there are tokens. What the schemas bound themselves is left alone; when that is too long already, the rest may
    add half a limit.

    Args:
        bounds: The bounds to start from.
        longest: Characters of the longest reply under some bounds.
        max_tokens: The limit of a reply, in tokens.
    """
    low, high = 0, STEPS
    least = longest(bounds.shrunk(STEPS))
    room = max_tokens if least <= max_tokens else least + max_tokens // 2
    while low < high:
        middle = (low + high) // 2
        if longest(bounds.shrunk(middle)) <= room:
            high = middle
        else:
            low = middle + 1
    return bounds.shrunk(low)

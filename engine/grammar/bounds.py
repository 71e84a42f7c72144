"""How large the parts of a reply may get where the schema does not say."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Default bounds; a schema's own bounds come first.

    Attributes:
        string: Characters of a string.
        items: Items of an array, members of a free object.
        digits: Digits of a number before its point.
        depth: Levels of a value of any type.
        recursion: How often a schema may enter the same `$ref` again.
        ceiling: Greatest length of any string, the schema's own bound included; None is no ceiling. A string that must be longer may be.
    """

    string: int = 4000
    items: int = 64
    digits: int = 16
    depth: int = 4
    recursion: int = 3
    ceiling: int | None = None

    def string_range(self, low: int, high: int | None) -> tuple[int, int]:
        """Return the bounds of a string whose schema gives `low` and `high` (None is no bound)."""
        most = max(self.string, low) if high is None else high
        return low, most if self.ceiling is None else max(low, min(most, self.ceiling))


DEFAULT_BOUNDS = Bounds()

"""A pattern in a syntax that not every character or text fits: what must be cut from it, and what is left to check."""

from __future__ import annotations

from engine.grammar.charset import Intervals, intersect, of
from engine.grammar.marked import spells
from engine.grammar.regex import Chars, Concat, Either, Node, Repeat


def within(node: Node, chars: Intervals) -> Node | None:
    """Return the node cut down to texts of these characters; None when there is none."""
    if isinstance(node, Chars):
        kept = intersect(node.chars, chars)
        return Chars(kept) if kept else None
    if isinstance(node, Repeat):
        part = within(node.part, chars)
        if part is None:
            return Concat(()) if node.low == 0 else None
        return Repeat(part, node.low, node.high)
    parts = tuple(part for part in (within(part, chars) for part in node.parts) if part is not None)
    if isinstance(node, Concat):
        return Concat(parts) if len(parts) == len(node.parts) else None
    return Either(parts) if parts else None


def counts(node: Node, marker: str, *, bounded: bool = False) -> bool:
    """Whether the number of characters of which the marker can be made is bounded, by the pattern or beside it."""
    if isinstance(node, Repeat):
        own = isinstance(node.part, Chars) and spells(node.part.chars, marker)
        limited = bounded or node.low > 1 or (node.high is not None and node.high >= len(marker))
        return (own and limited) or counts(node.part, marker, bounded=bounded)
    return any(counts(part, marker, bounded=bounded) for part in getattr(node, "parts", ()))


def may_hold(node: Node, marker: str) -> bool:
    """Whether the pattern's texts may hold the marker other than inside one repetition of a set of characters.

    Inside such a repetition the grammar leaves the marker out; elsewhere it does not.
    """
    places = _Places()
    places.add(node)
    now = {(place, False) for place, chars in enumerate(places.chars) if intersect(chars, of(marker[0]))}
    for char in marker[1:]:
        fitting = {place for place, chars in enumerate(places.chars) if intersect(chars, of(char))}
        moved = {(after, True) for place, _ in now for after in places.follow[place] & fitting}
        now = moved | {(place, left) for place, left in now if place in places.own & fitting}
    return any(left for _, left in now)


class _Places:
    """The places of a pattern at which a character is read, and which may follow which (Glushkov's construction)."""

    def __init__(self) -> None:
        self.chars: list[Intervals] = []
        self.follow: list[set[int]] = []
        self.own: set[int] = set()

    def add(self, node: Node) -> tuple[bool, set[int], set[int]]:
        """Add the places of a node; return whether it can be empty, its first places and its last."""
        if isinstance(node, Chars):
            self.chars.append(node.chars)
            self.follow.append(set())
            return False, {len(self.chars) - 1}, {len(self.chars) - 1}
        if isinstance(node, Repeat):
            return self._repeat(node)
        if isinstance(node, Either):
            found = [self.add(part) for part in node.parts]
            none: set[int] = set()
            firsts, lasts = [first for _, first, _ in found], [last for _, _, last in found]
            return any(empty for empty, _, _ in found), none.union(*firsts), none.union(*lasts)
        return self._concat(node)

    def _concat(self, node: Concat) -> tuple[bool, set[int], set[int]]:
        empty, first, last = True, set[int](), set[int]()
        for part in node.parts:
            can_be_empty, heads, tails = self.add(part)
            self._join(last, heads)
            first = first | heads if empty else first
            last = last | tails if can_be_empty else tails
            empty = empty and can_be_empty
        return empty, first, last

    def _repeat(self, node: Repeat) -> tuple[bool, set[int], set[int]]:
        if node.high == 0:
            return True, set(), set()
        empty, first, last = self.add(node.part)
        if node.high != 1:
            if isinstance(node.part, Chars):
                self.own |= first
            else:
                self._join(last, first)
        return empty or node.low == 0, first, last

    def _join(self, lasts: set[int], firsts: set[int]) -> None:
        for place in lasts:
            self.follow[place] |= firsts

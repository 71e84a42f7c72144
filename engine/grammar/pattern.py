"""A string with a pattern and length bounds, as grammar over the decoded text."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

from engine.grammar.expr import Expr, Rules, choice, optional, sequence
from engine.grammar.marked import spells
from engine.grammar.regex import NOTHING, Chars, Concat, Either, Node, Repeat, parse_regex
from engine.grammar.syntax import Syntax

_LEAST_INNER = 8


@lru_cache(maxsize=512)
def parse_cached(pattern: str) -> Node:
    """Parse once; see `parse_regex`."""
    return parse_regex(pattern)


def length(node: Node) -> tuple[int, int | None]:
    """Return the lengths of the shortest and the longest text that the node matches; None is no bound."""
    if isinstance(node, Chars):
        return 1, 1
    if isinstance(node, Repeat):
        low, high = length(node.part)
        if high == 0 or node.high == 0:
            return 0, 0
        return low * node.low, None if high is None or node.high is None else high * node.high
    sizes = [length(part) for part in node.parts]
    lows, highs = [low for low, _ in sizes], [high for _, high in sizes]
    join, most = (sum, sum) if isinstance(node, Concat) else (min, max)
    return join(lows), None if None in highs else most(high for high in highs if high is not None)


def narrow(node: Node, low: int, high: int) -> Node | None:
    """Return the node cut down to texts of `low` to `high` characters; None when no such text exists.

    Raises:
        ValueError: The node's shape does not allow it exactly.
    """
    least, most = length(node)
    if least >= low and most is not None and most <= high:
        return node
    if least > high or (most is not None and most < low):
        return None
    if isinstance(node, Either):
        kept = tuple(part for part in (narrow(part, low, high) for part in node.parts) if part is not None)
        return Either(kept) if kept else None
    if isinstance(node, Concat):
        return _narrow_concat(node, low, high)
    if isinstance(node, Repeat):
        return _narrow_repeat(node, low, high)
    return None


def _narrow_concat(node: Concat, low: int, high: int) -> Node | None:
    sizes = [length(part) for part in node.parts]
    loose = [index for index, (least, most) in enumerate(sizes) if least != most]
    if len(loose) != 1:
        raise ValueError("several parts of different lengths")
    fixed = sum(least for index, (least, _) in enumerate(sizes) if index != loose[0])
    part = narrow(node.parts[loose[0]], max(0, low - fixed), high - fixed)
    return None if part is None else Concat((*node.parts[: loose[0]], part, *node.parts[loose[0] + 1 :]))


def _narrow_repeat(node: Repeat, low: int, high: int) -> Node | None:
    least, most = length(node.part)
    if least != most or not least:
        raise ValueError("a repetition of something of different lengths")
    first = max(node.low, -(-low // least))
    last = high // least if node.high is None else min(node.high, high // least)
    return Repeat(node.part, first, last) if first <= last else None


def solid(node: Node) -> Node | None:
    """Return the node without the empty text; None when nothing else is left."""
    if length(node)[0] > 0:
        return node
    if isinstance(node, Repeat):
        part = solid(node.part)
        if part is None or node.high == 0:
            return None
        return Repeat(part, 1, node.high)
    if isinstance(node, Either):
        kept = tuple(part for part in map(solid, node.parts) if part is not None)
        return Either(kept) if kept else None
    found: list[Node] = []
    for index, part in enumerate(getattr(node, "parts", ())):
        rest = solid(part)
        if rest is not None:
            found.append(Concat((rest, *node.parts[index + 1 :])))  # type: ignore[union-attr]  # only Concat is left
    return Either(tuple(found)) if found else None


class PatternWriter:
    """Writes a tree as grammar; every open repetition is bounded.

    Args:
        rules: Where rules are added.
        longest: Bound, in characters, of what an open repetition matches.
        syntax: How a character is written.
    """

    def __init__(self, rules: Rules, longest: int, syntax: Syntax) -> None:
        self._rules = rules
        self._syntax = syntax
        self._longest = longest

    def write(self, node: Node, inner: bool = False) -> Expr:
        """Return the grammar of the node; `inner` means that it stands inside an open repetition."""
        if isinstance(node, Chars):
            return self._syntax.char(self._rules, node.chars)
        if isinstance(node, Concat):
            return sequence(*(self.write(part, inner) for part in node.parts))
        if isinstance(node, Either):
            return choice(*(self.write(part, inner) for part in node.parts))
        return self._repeat(node, inner)

    def _repeat(self, node: Repeat, inner: bool) -> Expr:
        full = solid(node.part)
        if full is None or node.high == 0:
            return self.write(NOTHING)
        part = self.write(full, inner or node.high is None)
        low = 0 if length(node.part)[0] == 0 else node.low
        high = node.high
        if high is None:
            # A repetition of repetitions shares its room evenly: as many parts as a part has characters.
            room = max(_LEAST_INNER, isqrt(self._longest)) if inner else self._longest
            high = max(low, room // max(1, part.longest), 1)
        if isinstance(full, Chars) and (self._rules.runs or spells(full.chars, self._syntax.marker)):
            return self._syntax.run(self._rules, (low, high), full.chars)
        repeated = self._rules.repeat(part, low, high, "part")
        return optional(repeated) if low == 0 else repeated

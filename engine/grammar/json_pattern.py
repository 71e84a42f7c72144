r"""Strings of a JSON Schema that xgrammar, llguidance and llama.cpp's own converter read alike.

Measured on xgrammar 0.2.8, llguidance 1.7 (in xllamacpp 2026.10) and the GBNF converter beside it:

- `pattern` is matched with the JSON text by xgrammar and the converter, with the decoded text by llguidance; they agree
  where the text has nothing that JSON escapes. `\d`, a pattern without anchors, and lengths beside a pattern are
  ignored by one or the other. So a pattern is written anew: anchored, of plain classes that hold no quote, backslash
  or control character, its open repetitions closed, its length worked in.
- A string with `maxLength` holds no escape at all in xgrammar. So beside the lengths stands a pattern of the JSON
  text, which adds the escapes; llguidance reads it as text that holds backslashes, and the lengths cover the rest.
"""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from math import isqrt
from typing import Any

from engine.grammar.charset import Intervals, complement, intersect, union
from engine.grammar.pattern import length, narrow, parse_cached
from engine.grammar.regex import Chars, Concat, Either, Node, Repeat, UnsupportedPatternError

MAX_STRING = 2000
"""What llama.cpp repeats at most; the default bound of a string in this mode."""
_SHARES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_LEAST_INNER = 8
_PLAIN = complement(union(((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))))
_ENCODED = '(?:[ !#-\\[\\]-\U0010ffff]|\\\\["\\\\/bfnrt]|\\\\u00[01][0-9a-fA-F])'


def text(low: int, high: int) -> dict[str, Any]:
    """Return the schema of a string of `low` to `high` characters."""
    if high == 0:
        return {"const": ""}
    plain = {"type": "string", "minLength": low, "maxLength": high}
    encoded = {"type": "string", "pattern": f"^{_ENCODED}{{{low},{high}}}$"}
    return {"anyOf": [plain, encoded]}


@lru_cache(maxsize=512)
def rewritten(pattern: str, low: int, high: int) -> tuple[str | None, bool]:
    """Return a pattern of texts of `low` to `high` characters, and whether both bounds are in it.

    The first is None where no text has that length.

    Raises:
        UnsupportedPatternError: A grammar cannot express the pattern, or only with characters that JSON escapes.
    """
    tree = _without_escapes(parse_cached(pattern))
    if tree is None:
        raise UnsupportedPatternError("characters that JSON escapes, which servers match in different ways")
    with suppress(ValueError):
        exact = narrow(tree, low, high)
        return (None if exact is None else _anchored(_closed(exact, high))), True
    for share in _SHARES:
        closed = _closed(tree, max(1, high // share))
        least, most = length(closed)
        if least >= low and most is not None and most <= high:
            return _anchored(closed), True
    return _anchored(_closed(tree, high)), False


def _without_escapes(node: Node) -> Node | None:
    """Return the node less what JSON escapes; None when nothing is left."""
    if isinstance(node, Chars):
        kept = intersect(node.chars, _PLAIN)
        return Chars(kept) if kept else None
    if isinstance(node, Repeat):
        part = _without_escapes(node.part)
        if part is not None:
            return Repeat(part, node.low, node.high)
        return Concat(()) if node.low == 0 else None
    parts = [_without_escapes(part) for part in node.parts]
    kept_parts = tuple(part for part in parts if part is not None)
    if isinstance(node, Concat):
        return Concat(kept_parts) if len(kept_parts) == len(parts) else None
    return Either(kept_parts) if kept_parts else None


def _closed(node: Node, longest: int, inner: bool = False) -> Node:
    """Return the node with every open repetition closed, as `PatternWriter` closes them."""
    if isinstance(node, Repeat):
        part = _closed(node.part, longest, inner or node.high is None)
        high = node.high
        if high is None:
            room = max(_LEAST_INNER, isqrt(longest)) if inner else longest
            high = max(node.low, room // max(1, length(part)[1] or 1), 1)
        return Repeat(part, node.low, high)
    if isinstance(node, Chars):
        return node
    return type(node)(tuple(_closed(part, longest, inner) for part in node.parts))


def _anchored(node: Node) -> str:
    return f"^(?:{_spelled(node)})$"


def _spelled(node: Node) -> str:
    if isinstance(node, Chars):
        return _class(node.chars)
    if isinstance(node, Repeat):
        if node.high == 0:
            return ""
        inside = _spelled(node.part)
        return f"(?:{inside}){{{node.low},{node.high}}}" if inside else ""
    if isinstance(node, Concat):
        return "".join(f"(?:{part})" if "|" in part else part for part in map(_spelled, node.parts))
    return "(?:" + "|".join(map(_spelled, node.parts)) + ")"


def _class(chars: Intervals) -> str:
    """Return the class; `^` stands unescaped and not first, for llama.cpp reads no escape of it."""
    low, high = chars[0]
    if chr(low) != "^":
        return "[" + "".join(map(_range, chars)) + "]"
    rest = ([(low + 1, high)] if high > low else []) + list(chars[1:])
    return "[" + "".join(map(_range, rest)) + "^]" if rest else "\\^"


def _range(interval: tuple[int, int]) -> str:
    low, high = (f"\\{char}" if char in "[]-" else char for char in map(chr, interval))
    return low if low == high else f"{low}-{high}"

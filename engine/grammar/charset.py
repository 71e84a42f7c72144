r"""Sets of characters as intervals of code points, and how a JSON string writes a character of such a set.

Escapes in a class are `\uHHHH`: after `\xHH` xgrammar reads further hexadecimal digits into the number.
"""

from __future__ import annotations

from functools import lru_cache

from engine.grammar.expr import Expr, Rules, choice, literal, sequence

Intervals = tuple[tuple[int, int], ...]

LAST = 0x10FFFF
ALL: Intervals = ((0, 0xD7FF), (0xE000, LAST))
_BARE = frozenset(" !#$%&'()*+,./:;<=>?@_`{|}~")
_SHORT = {0x22: '"', 0x5C: "\\", 0x2F: "/", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}
_HEX = "0123456789abcdef"


def union(*sets: Intervals) -> Intervals:
    """Return the characters of any of the sets, as sorted intervals that do not touch."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(item for one in sets for item in one):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def intersect(left: Intervals, right: Intervals) -> Intervals:
    """Return the characters of both sets."""
    found = ((max(a, c), min(b, d)) for a, b in left for c, d in right)
    return union(tuple((low, high) for low, high in found if low <= high))


def complement(chars: Intervals) -> Intervals:
    """Return every other character; surrogates are no characters."""
    gaps, start = [], 0
    for low, high in union(chars):
        if low > start:
            gaps.append((start, low - 1))
        start = high + 1
    if start <= LAST:
        gaps.append((start, LAST))
    return intersect(tuple(gaps), ALL)


def of(text: str) -> Intervals:
    """Return the set of the text's characters."""
    return union(tuple((ord(char), ord(char)) for char in text))


def _code(code: int) -> str:
    char = chr(code)
    if code < 0x80:
        if char.isalnum() or char in _BARE:
            return char
        return "\\\\" if char == "\\" else f"\\u{code:04x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def _ranges(chars: Intervals) -> str:
    return "".join(_code(low) if low == high else f"{_code(low)}-{_code(high)}" for low, high in chars)


def char_class(chars: Intervals) -> Expr:
    """Match one character of a set that is not empty, by the shorter of its two spellings."""
    chars = union(chars)
    spelled, negated = f"[{_ranges(chars)}]", complement(chars)
    other = f"[^{_ranges(negated)}]"
    return Expr(other if negated and len(other) < len(spelled) else spelled, 1, 1)


def split_class(chars: Intervals) -> Expr:
    r"""Match one character of a set that is not empty, as a choice of two parts where it has two characters.

    xgrammar 0.2 unrolls a repetition of a single class into states and computes each one's tokens: `[^<]{0,1000}` takes
    3 s to compile with a vocabulary of 49,000, and 10 ms as `([^<\n] | "\n"){0,1000}`.
    """
    chars = union(chars)
    apart = of("\n") if intersect(chars, of("\n")) else ((chars[0][0], chars[0][0]),)
    rest = intersect(chars, complement(apart))
    return choice(char_class(rest), literal(chr(apart[0][0]))) if rest else char_class(chars)


_RAW = complement(union(((0, 0x1F),), of('"\\')))


# Printable ASCII is never written as \uXXXX: json.dumps does not, and a small model that begins so spends six
# tokens a character.
_ESCAPED: Intervals = ((0, 0x1F), (0x7F, 0xFFFF))


def _digit_class(digits: list[int]) -> Expr:
    text = "".join(_HEX[digit] for digit in digits)
    if text.isdigit() and len(text) == 1:
        return literal(text)
    return char_class(of(text + text.upper()))


def _hex(chars: Intervals, width: int) -> Expr:
    """Match the numbers of the intervals, written with `width` hexadecimal digits in either case."""
    size = 16 ** (width - 1)
    groups: dict[Intervals, list[int]] = {}
    for digit in range(16):
        part = intersect(chars, ((digit * size, digit * size + size - 1),))
        if part:
            groups.setdefault(tuple((a - digit * size, b - digit * size) for a, b in part), []).append(digit)
    if width == 1:
        return _digit_class(sorted(digit for digits in groups.values() for digit in digits))
    parts = []
    for rest, digits in groups.items():
        full = rest == ((0, size - 1),)
        counted = f"[0-9a-fA-F]{{{width - 1}}}" if width > 2 else "[0-9a-fA-F]"
        tail = Expr(counted, width - 1, width - 1) if full else _hex(rest, width - 1)
        parts.append(sequence(_digit_class(digits), tail))
    return choice(*parts)


def _pairs(chars: Intervals) -> list[Expr]:
    """Match the characters above the BMP as two escapes, a surrogate pair."""
    found: list[tuple[Intervals, Intervals]] = []
    for low, high in intersect(chars, ((0x10000, LAST),)):
        (first, start), (last, end) = divmod(low - 0x10000, 0x400), divmod(high - 0x10000, 0x400)
        if first == last:
            found.append((((first, first),), ((start, end),)))
            continue
        found.append((((first, first),), ((start, 0x3FF),)))
        found.append((((last, last),), ((0, end),)))
        if last - first > 1:
            found.append((((first + 1, last - 1),), ((0, 0x3FF),)))
    merged: dict[Intervals, Intervals] = {}
    for heads, tails in found:
        merged[tails] = union(merged.get(tails, ()), heads)
    return [
        sequence(literal("\\u"), _hex(_shift(heads, 0xD800), 4), literal("\\u"), _hex(_shift(tails, 0xDC00), 4))
        for tails, heads in merged.items()
    ]


def _shift(chars: Intervals, by: int) -> Intervals:
    return tuple((low + by, high + by) for low, high in chars)


def json_char(chars: Intervals, rules: Rules, hint: str = "char") -> Expr:
    r"""Match one character of the set as a JSON string writes it: raw, `\n` and its like, or `\uXXXX` outside ASCII.

    Args:
        chars: A set that is not empty.
        rules: Where the rule is added.
        hint: The rule's name.
    """
    return rules.add(hint, _json_char(chars))


def json_raw(chars: Intervals) -> Intervals:
    """Return the characters of the set that a JSON string can hold as they are."""
    return intersect(chars, _RAW)


@lru_cache(maxsize=1024)
def _json_char(chars: Intervals) -> Expr:
    raw = json_raw(chars)
    parts = [char_class(raw)] if raw else []
    return Expr(choice(*parts, *json_escapes(chars)).text, 1, 1, "choice")


@lru_cache(maxsize=1024)
def json_escapes(chars: Intervals) -> tuple[Expr, ...]:
    """Match one character of the set as an escape; nothing where none of them is written so."""
    parts: list[Expr] = []
    short = "".join(escape for code, escape in _SHORT.items() if any(a <= code <= b for a, b in chars))
    if short:
        parts.append(sequence(literal("\\"), char_class(of(short))))
    plane = intersect(chars, _ESCAPED)
    if plane:
        parts.append(sequence(literal("\\u"), _hex(plane, 4)))
    return (*parts, *_pairs(chars))

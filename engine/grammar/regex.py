r"""A regular expression as a tree: the subset of ECMA-262 and Python syntax that has one meaning in both.

Where the two differ (`.` and line ends, `\d` and digits of other scripts) a class holds only what both accept, so
whatever the tree
matches, jsonschema's own check accepts too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.grammar.charset import ALL, Intervals, complement, of, union

_MAX_DEPTH = 40
_SPACE_EVERYWHERE = union(
    of(" \t\n\r\f\v\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"), ((0x2000, 0x200A),)
)
_WORD = union(of("_"), ((0x30, 0x39), (0x41, 0x5A), (0x61, 0x7A)))
_DIGIT: Intervals = ((0x30, 0x39),)
_CLASSES: dict[str, Intervals] = {
    "d": _DIGIT,
    "w": _WORD,
    "s": of(" \t\n\r\f\v"),
    "D": ((0, 0x2F), (0x3A, 0x65F)),
    "W": ((0, 0x2F), (0x3A, 0x40), (0x5B, 0x5E), (0x60, 0x60), (0x7B, 0x7F)),
    "S": complement(_SPACE_EVERYWHERE),
}
_CONTROL = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
_DOT = complement(of("\n\r\u2028\u2029"))
_COUNT = re.compile(r"\{(\d{1,6})(,(\d{0,6}))?\}")


class UnsupportedPatternError(ValueError):
    """The expression uses something that a grammar cannot express; the message says what."""


@dataclass(frozen=True, slots=True)
class Chars:
    """One character of a set."""

    chars: Intervals


@dataclass(frozen=True, slots=True)
class Concat:
    """The parts one after another; no parts match the empty text."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of the parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part `low` to `high` times; None is no upper bound."""

    part: Node
    low: int
    high: int | None


Node = Chars | Concat | Either | Repeat
NOTHING = Concat(())
ANY_TEXT = Repeat(Chars(ALL), 0, None)


def parse_regex(pattern: str) -> Node:
    """Return the tree of the texts in which the pattern is found (so an unanchored pattern allows text around it).

    Raises:
        UnsupportedPatternError: The pattern uses look-around, back references, word boundaries, flags or an anchor
            inside a group.
    """
    return _Parser(pattern).parse()


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._text = pattern
        self._at = 0

    def parse(self) -> Node:
        branches = [self._anchored()]
        while self._take("|"):
            branches.append(self._anchored())
        if self._at < len(self._text):
            raise UnsupportedPatternError(f"unexpected '{self._text[self._at]}' at character {self._at + 1}")
        return branches[0] if len(branches) == 1 else Either(tuple(branches))

    def _anchored(self) -> Node:
        start = self._take("^")
        body = self._sequence(0)
        end = self._take("$")
        return Concat((*(() if start else (ANY_TEXT,)), body, *(() if end else (ANY_TEXT,))))

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self, text: str) -> bool:
        if self._text.startswith(text, self._at):
            self._at += len(text)
            return True
        return False

    def _next(self) -> str:
        char = self._peek()
        if not char:
            raise UnsupportedPatternError("the pattern ends too early")
        self._at += 1
        return char

    def _either(self, depth: int) -> Node:
        if depth > _MAX_DEPTH:
            raise UnsupportedPatternError(f"groups nested deeper than {_MAX_DEPTH}")
        branches = [self._sequence(depth)]
        while self._take("|"):
            branches.append(self._sequence(depth))
        return branches[0] if len(branches) == 1 else Either(tuple(branches))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self._peek() not in ("", "|", ")", "$"):
            parts.append(self._quantified(self._one(depth)))
        return parts[0] if len(parts) == 1 else Concat(tuple(parts))

    def _quantified(self, part: Node) -> Node:
        low, high = 1, 1
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        count = _COUNT.match(self._text, self._at)
        if self._peek() in simple:
            low, high = simple[self._next()]  # type: ignore[assignment]  # None is no upper bound
        elif count:
            self._at = count.end()
            low = int(count[1])
            high = low if count[2] is None else (int(count[3]) if count[3] else None)  # type: ignore[assignment]  # as above
        else:
            return part
        self._take("?")  # a lazy quantifier matches the same texts
        if self._peek() in ("*", "+"):
            raise UnsupportedPatternError("a possessive or double quantifier")
        return Repeat(part, low, high)

    def _one(self, depth: int) -> Node:
        char = self._next()
        if char == "(":
            return self._group(depth)
        if char == "[":
            return Chars(self._set())
        if char == ".":
            return Chars(_DOT)
        if char == "\\":
            return Chars(self._escape())
        if char == "^":
            raise UnsupportedPatternError("an anchor inside the pattern")
        if char in "*+?" or (char == "{" and _COUNT.match(self._text, self._at - 1)):
            raise UnsupportedPatternError("a quantifier without something to repeat")
        return Chars(of(char))

    def _group(self, depth: int) -> Node:
        if self._take("?"):
            named = re.compile(r":|P?<[A-Za-z_]\w*>").match(self._text, self._at)
            if not named:
                raise UnsupportedPatternError("look-around, a flag or another special group")
            self._at = named.end()
        inner = self._either(depth + 1)
        if self._peek() == "$":
            raise UnsupportedPatternError("an anchor inside a group")
        if not self._take(")"):
            raise UnsupportedPatternError("a group without its end")
        return inner

    def _escape(self, negated: bool = False) -> Intervals:
        char = self._next()
        if char in _CLASSES:
            return complement(_CLASSES[char.swapcase()]) if negated else _CLASSES[char]
        if char in _CONTROL and not (char == "0" and self._peek().isdigit()):
            return of(_CONTROL[char])
        if char in "xu":
            return self._code(2 if char == "x" else 4)
        if char.isascii() and char.isalnum():
            raise UnsupportedPatternError(f"the escape \\{char}")
        return of(char)

    def _code(self, width: int) -> Intervals:
        digits = self._text[self._at : self._at + width]
        if not re.fullmatch(rf"[0-9a-fA-F]{{{width}}}", digits):
            raise UnsupportedPatternError("an escape with too few digits")
        self._at += width
        code = int(digits, 16)
        if 0xD800 <= code <= 0xDFFF:
            raise UnsupportedPatternError("a surrogate")
        return ((code, code),)

    def _set(self) -> Intervals:
        negated = self._take("^")
        chars: Intervals = ()
        first = True
        while first or self._peek() != "]":
            if first and self._peek() == "]":
                raise UnsupportedPatternError("a ] at the start of a class")
            first = False
            low = self._member(negated)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                low = _span(low, self._member(negated))
            chars = union(chars, low)
        self._at += 1
        found = complement(chars) if negated else chars
        if not found:
            raise UnsupportedPatternError("an empty class")
        return found

    def _member(self, negated: bool) -> Intervals:
        char = self._next()
        if char == "[":
            raise UnsupportedPatternError("a [ inside a class")
        if char != "\\":
            return of(char)
        if self._peek() == "b":
            self._at += 1
            return of("\b")
        return self._escape(negated)


def _span(low: Intervals, high: Intervals) -> Intervals:
    if len(low) != 1 or len(high) != 1 or low[0][0] != low[0][1] or high[0][0] != high[0][1] or low[0][0] > high[0][0]:
        raise UnsupportedPatternError("a range that is not from one character to a later one")
    return union(((low[0][0], high[0][0]),))

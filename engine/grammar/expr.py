"""Pieces of a grammar in the subset of EBNF that xgrammar and llama.cpp both read, and the table of named rules.

The subset (checked by `engine.grammar.check`): rule names of letters, digits and dashes; `"…"`, `[…]`, `* + ?
{m,n}`, parentheses; one
rule a line; right recursion only; nothing that can be empty is repeated. Two limits of llama.cpp shape
`Rules.repeat`: a repetition
above 2000 is refused or silently made unbounded, and the cost of a repetition is its number times the size of what
it repeats.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import reduce
from typing import Literal

MAX_REPETITION = 2000
_BLOCK = 500


@dataclass(frozen=True, slots=True)
class Expr:
    """A piece of grammar.

    Attributes:
        text: The EBNF; empty for the empty text.
        shortest: Characters of the shortest match; 0 means that it can be empty.
        longest: Characters of the longest match, an escape of a JSON string counted as one.
        form: What may stand around it without parentheses.
    """

    text: str
    shortest: int
    longest: int
    form: Literal["atom", "sequence", "choice"] = "atom"

    @property
    def atom(self) -> str:
        """The text, in parentheses unless it is one token."""
        return self.text if self.form == "atom" else f"({self.text})"

    @property
    def element(self) -> str:
        """The text as it may stand in a sequence."""
        return f"({self.text})" if self.form == "choice" else self.text


EMPTY = Expr("", 0, 0, "sequence")
_LITERAL_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _literal_char(char: str) -> str:
    if char in _LITERAL_ESCAPES:
        return _LITERAL_ESCAPES[char]
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\u{code:04x}"
    return char


def literal(text: str) -> Expr:
    """Match exactly this text."""
    if not text:
        return EMPTY
    return Expr('"' + "".join(_literal_char(char) for char in text) + '"', len(text), len(text))


def sequence(*parts: Expr) -> Expr:
    """Match the parts one after another."""
    joined: list[Expr] = []
    for part in parts:
        if joined and _joins(joined[-1]) and _joins(part):
            last = joined.pop()
            joined.append(
                Expr(last.text[:-1] + part.text[1:], last.shortest + part.shortest, last.longest + part.longest)
            )
        elif part.text:
            joined.append(part)
    if len(joined) <= 1:
        return joined[0] if joined else EMPTY
    text = " ".join(part.element for part in joined)
    return Expr(text, sum(p.shortest for p in joined), sum(p.longest for p in joined), "sequence")


def _joins(part: Expr) -> bool:
    """Whether the part is a plain literal."""
    return part.form == "atom" and part.text[:1] == '"' == part.text[-1:]


def choice(*parts: Expr) -> Expr:
    """Match one of the parts; equal ones are merged, and an empty one makes the rest optional."""
    unique = list({part.text: part for part in parts if part.text}.values())
    if not unique:
        return EMPTY
    merged = unique[0]
    if len(unique) > 1:
        text = " | ".join(part.text for part in unique)
        merged = Expr(text, min(p.shortest for p in unique), max(p.longest for p in unique), "choice")
    return merged if all(part.text for part in parts) else optional(merged)


def optional(part: Expr) -> Expr:
    """Match the part or nothing."""
    if part.shortest == 0:
        return part
    return Expr(f"{part.atom}?", 0, part.longest)


def _name_of(hint: str) -> str:
    name = re.sub(r"[^A-Za-z0-9]+", "-", hint).strip("-").lower()
    return name if name[:1].isalpha() else f"r-{name}".rstrip("-")


class Rules:
    """The named rules of one grammar; a body that is already there keeps its first name.

    Args:
        runs: Write texts in the form that xgrammar masks quickly, see `engine.grammar.runs`.
    """

    def __init__(self, *, runs: bool = False) -> None:
        self.runs = runs
        self._bodies: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._recursive: dict[Hashable, Expr] = {}

    def add(self, hint: str, body: Expr) -> Expr:
        """Name a piece and return a reference to it.

        Args:
            hint: A readable name; it is made valid and unique.
            body: The piece; the empty text stays as it is.
        """
        if not body.text or (body.form == "atom" and len(body.text) < 12):
            return body
        return self.name(hint, body)

    def name(self, hint: str, body: Expr) -> Expr:
        """Name a piece even when it is short; see `add`."""
        name = self._names.get(body.text)
        if name is None:
            name = self._unique(_name_of(hint))
            self._names[body.text] = name
            self._bodies[name] = body.text
        return Expr(name, body.shortest, body.longest)

    def recursive(self, hint: str, key: Hashable, write: Callable[[], Expr]) -> Expr:
        """Name a piece that may refer to itself, and return a reference to it.

        Args:
            hint: A readable name; it is made valid and unique.
            key: What the piece is; for a key that is known, the reference to it is returned.
            write: Writes the piece, which cannot be empty text; it may ask for the same key.
        """
        if key not in self._recursive:
            name = self._unique(_name_of(hint))
            # It counts as one character where it refers to itself: how often it does is not known.
            self._recursive[key] = Expr(name, 1, 1)
            self._bodies[name] = ""
            self._bodies[name] = write().text
        return self._recursive[key]

    def _unique(self, name: str) -> str:
        if name != "root" and name not in self._bodies:
            return name
        number = 2
        while f"{name}-{number}" in self._bodies:
            number += 1
        return f"{name}-{number}"

    def repeat(self, part: Expr, low: int, high: int, hint: str = "item") -> Expr:
        """Match the part `low` to `high` times, exactly, however large the numbers are.

        Args:
            part: A piece that cannot be empty.
            low: Least number.
            high: Greatest number.
            hint: Name of the rule that holds the part.

        Raises:
            ValueError: The part can be empty.
        """
        if part.shortest == 0:
            raise ValueError(f"a part that can be empty must not be repeated: {part.text}")
        if high <= 0:
            return EMPTY
        if high == 1:
            return part if low else optional(part)
        item = part if _is_token(part) else self.name(hint, part)
        if high <= MAX_REPETITION:
            return counted(item, low, high)
        block = self.name(f"{hint}-block", counted(item, _BLOCK, _BLOCK))
        spread = (high - low - _BLOCK + 1) // _BLOCK if high - low >= _BLOCK else 0
        least, rest = divmod(low, _BLOCK)
        tail = high - low - spread * _BLOCK + rest
        return sequence(self.repeat(block, least, least + spread, f"{hint}-block"), counted(item, rest, tail))

    def render(self, root: Expr) -> str:
        """Return the grammar: `root` first, then the rules in the order of their making."""
        lines = [f"root ::= {root.text}", *(f"{name} ::= {body}" for name, body in self._bodies.items())]
        return "\n".join(lines) + "\n"


def _is_token(part: Expr) -> bool:
    """Whether the part is a name, a class or a literal, without a repetition of its own."""
    return part.form == "atom" and (part.text[0] in '"[' or part.text[0].isalpha()) and part.text[-1] not in "?}*+"


def counted(item: Expr, low: int, high: int) -> Expr:
    """Match a token `low` to `high` times, in one repetition; see `Rules.repeat` for numbers beyond 2000."""
    if high == 0:
        return EMPTY
    if low == high == 1:
        return item
    if (low, high) == (0, 1):
        return optional(item)
    count = f"{{{low}}}" if low == high else f"{{{low},{high}}}"
    return Expr(f"{item.atom}{count}", item.shortest * low, item.longest * high)


def alternatives(parts: list[Expr]) -> Expr | None:
    """Return the choice of the parts, or None when there is none."""
    return reduce(choice, parts) if parts else None

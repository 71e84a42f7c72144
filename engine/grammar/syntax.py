"""How a wire format writes the arguments of a call: JSON, or one of the formats that mark strings in another way.

A strategy walks a schema and asks the syntax for each piece of grammar, so every strategy works for every format:

- `JSON_SYNTAX`: `{"a": "x", "n": 3}`, as `json.dumps` writes it.
- `ESCAPE_SYNTAX`: `{a:<escape>x<escape>,n:3}`, FunctionGemma's: no blanks, strings raw between markers, keys bare, or
  like a string where their characters are part of the format.
- `PARAMETER_SYNTAX`: `<parameter=a>` with the value on lines of its own and `</parameter>` after it, Qwen3-Coder's: a
  string raw, anything else as JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from engine.grammar.charset import Intervals
from engine.grammar.expr import Expr, Rules
from engine.grammar.json_syntax import JsonSyntax
from engine.grammar.text_syntax import ESCAPE_SYNTAX as _ESCAPE
from engine.grammar.text_syntax import PARAMETER_SYNTAX as _PARAMETER


class Syntax(Protocol):
    """How values are written. All of it is immutable and hashable, so that a grammar can be cached by it."""

    @property
    def name(self) -> str:
        """A short name."""
        ...

    @property
    def braces(self) -> tuple[str, str]:
        """What stands around the members of an object."""
        ...

    @property
    def brackets(self) -> tuple[str, str]:
        """What stands around the items of an array."""
        ...

    @property
    def comma(self) -> str:
        """What stands between two members or items."""
        ...

    @property
    def around_key(self) -> tuple[str, str]:
        """What stands before a key and between the key and its value."""
        ...

    @property
    def inner(self) -> Syntax:
        """How the values inside an object or an array are written."""
        ...

    @property
    def compound(self) -> Syntax:
        """How an object or an array is written that stands where this syntax writes a string."""
        ...

    @property
    def keys(self) -> Sequence[Syntax]:
        """The ways in which a key may be written that the schema does not name; only their strings are of use."""
        ...

    @property
    def end(self) -> str:
        """What ends the arguments where they are only text; empty where a line break does."""
        ...

    @property
    def marker(self) -> str:
        """What no string may hold, for it would end there; empty where strings may hold anything."""
        ...

    @property
    def chars(self) -> Intervals:
        """The characters that a string may hold."""
        ...

    @property
    def edges(self) -> Intervals:
        """The characters with which a string may start and end."""
        ...

    @property
    def least(self) -> int:
        """Characters that every string has at least."""
        ...

    @property
    def unsigned(self) -> bool:
        """Whether a string has no sign that it is one, so that its text may be that of another value."""
        ...

    def literal(self, value: Any) -> Expr:
        """Match exactly this JSON value.

        Raises:
            ValueError: The syntax cannot write it.
        """
        ...

    def key(self, name: str) -> Expr:
        """Match this key of an object with what stands around it.

        Raises:
            ValueError: The syntax cannot write it.
        """
        ...

    def string(self, rules: Rules, low: int, high: int, cuts: int | None = None) -> Expr:
        """Match a string of `low` to `high` characters, with its quotes, `ended`; `cuts` as in `text_in_runs`."""
        ...

    def ended(self, rules: Rules, value: Expr) -> Expr:
        """Match a value that is no string with what stands after it, where the form for xgrammar writes both as one."""
        ...

    def after_member(self, rules: Rules) -> Expr:
        """Match what stands after the value of a member, less what its value brings along when it is `ended`."""
        ...

    def quoted(self, body: Expr) -> Expr:
        """Match a string of which the body is given."""
        ...

    def char(self, rules: Rules, chars: Intervals) -> Expr:
        """Match one character of a set, none of which is missing in `chars`."""
        ...

    def run(self, rules: Rules, size: tuple[int, int], chars: Intervals, cuts: int | None = None) -> Expr:
        """Match a text of least to most characters of a set that does not hold the marker."""
        ...


JSON_SYNTAX: Syntax = JsonSyntax()
ESCAPE_SYNTAX: Syntax = _ESCAPE
PARAMETER_SYNTAX: Syntax = _PARAMETER

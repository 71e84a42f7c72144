"""JSON as `json.dumps` writes it: one space after `:` and `,`, none elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from engine.grammar.automaton import text_until
from engine.grammar.charset import ALL, Intervals, json_char, json_escapes, json_raw
from engine.grammar.expr import EMPTY, Expr, Rules, choice, literal, sequence
from engine.grammar.marked import spells, text_without
from engine.grammar.runs import text_in_runs

_QUOTE = literal('"')


def encodable(text: str) -> bool:
    """Whether the text holds no half of a surrogate pair."""
    return not any(0xD800 <= ord(char) <= 0xDFFF for char in text)


@dataclass(frozen=True, slots=True)
class JsonSyntax:
    r"""JSON, by itself or inside a text that ends with a marker.

    Attributes:
        name: A short name.
        marker: What must not stand anywhere in it, such as `</parameter>`; a string says it with an escape (`<\/`).
        end: What ends arguments that are only text: the last brace, or empty where a line break does, which no JSON
            holds.
    """

    name: str = "json"
    marker: str = ""
    end: str = ""

    @property
    def braces(self) -> tuple[str, str]:
        """What stands around the members of an object."""
        return "{", "}"

    @property
    def brackets(self) -> tuple[str, str]:
        """What stands around the items of an array."""
        return "[", "]"

    @property
    def comma(self) -> str:
        """What stands between two members or items."""
        return ", "

    @property
    def around_key(self) -> tuple[str, str]:
        """What stands before a key and between the key and its value."""
        return "", ": "

    @property
    def after_value(self) -> str:
        """What stands after the value of a member: nothing."""
        return ""

    @property
    def ending(self) -> str:
        """What ends a value: nothing but itself."""
        return ""

    @property
    def inner(self) -> JsonSyntax:
        """How inner values are written: the same."""
        return self

    @property
    def compound(self) -> JsonSyntax:
        """How an object or an array is written: as JSON."""
        return self

    @property
    def keys(self) -> tuple[JsonSyntax]:
        """How keys are written: as strings."""
        return (self,)

    @property
    def chars(self) -> Intervals:
        """The characters that a string may hold: all."""
        return ALL

    @property
    def edges(self) -> Intervals:
        """The characters with which a string may start and end: all."""
        return ALL

    @property
    def least(self) -> int:
        """Characters of the shortest string: none."""
        return 0

    @property
    def unsigned(self) -> bool:
        """Whether a string has no sign that it is one: it has its quotes."""
        return False

    def literal(self, value: Any) -> Expr:
        """Match exactly this value, with characters outside ASCII raw or escaped.

        Raises:
            ValueError: The value is not JSON.
        """
        try:
            escaped = self._free(json.dumps(value, allow_nan=False))
            raw = self._free(json.dumps(value, ensure_ascii=False, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{value!r} is not a JSON value") from error
        return choice(literal(raw), literal(escaped)) if encodable(raw) else literal(escaped)

    def _free(self, text: str) -> str:
        """Return the JSON without the marker in it."""
        return text.replace(self.marker, self.marker.replace("/", "\\/")) if self.marker else text

    def key(self, name: str) -> Expr:
        """Match this key with its colon."""
        return sequence(self.literal(name), literal(": "))

    def string(self, rules: Rules, low: int, high: int, cuts: int | None = None) -> Expr:
        """Match a string of `low` to `high` characters, an escape being one character."""
        if rules.runs and self.marker and high >= len(self.marker):
            text = text_until(rules, '"', self.marker, (low, high), _ways(ALL))
            return rules.add(f"string-{low}-{high}", sequence(_QUOTE, text))
        return rules.add(f"string-{low}-{high}", self.quoted(self.run(rules, (low, high), ALL, cuts)))

    def quoted(self, body: Expr) -> Expr:
        """Match the body between double quotes."""
        return sequence(_QUOTE, body, _QUOTE)

    def ended(self, rules: Rules, value: Expr) -> Expr:  # noqa: ARG002 - a value of JSON needs no end
        """Match a value: nothing stands after it."""
        return value

    def after_member(self, rules: Rules) -> Expr:  # noqa: ARG002 - nor does a member
        """Match nothing."""
        return EMPTY

    def char(self, rules: Rules, chars: Intervals) -> Expr:
        """Match one character of a set, raw or escaped."""
        return json_char(chars, rules)

    def run(self, rules: Rules, size: tuple[int, int], chars: Intervals, cuts: int | None = None) -> Expr:
        """Match a text of a number of characters of a set, without the marker."""
        marked = spells(chars, self.marker) and size[1] >= len(self.marker)
        if marked and rules.runs:
            return text_until(rules, "", self.marker, size, _ways(chars))
        if marked:
            return text_without(rules, self.marker, size, chars, partial(_spell, rules))
        if rules.runs:
            return text_in_runs(rules, json_raw(chars), json_escapes(chars), size, cuts=cuts)
        return rules.repeat(self.char(rules, chars), *size, "chars")


def _ways(chars: Intervals) -> tuple[Intervals, tuple[Expr, ...]]:
    return json_raw(chars), json_escapes(chars)


def _spell(rules: Rules, chars: Intervals, other: str) -> Expr:
    written = json_char(chars, rules)
    return choice(written, literal("\\/")) if other == "/" else written

"""Formats that write a string raw, between markers instead of quotes.

Sources: the chat templates of FunctionGemma (`<escape>`) and of Qwen3-Coder (`<parameter=…>`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.grammar.automaton import text_until
from engine.grammar.charset import ALL, Intervals, char_class, complement, intersect, of, split_class, union
from engine.grammar.expr import Expr, Rules, literal, optional, sequence
from engine.grammar.json_syntax import JsonSyntax, encodable
from engine.grammar.marked import spells, text_without
from engine.grammar.runs import text_in_runs

_BLANKS: Intervals = union(((0, 0x20), (0x7F, 0xA0), (0x2000, 0x200F), (0x2028, 0x202F), (0x205F, 0x2064)),
                           of("\u1680\u3000\ufeff"))  # fmt: skip

BARE_KEY = re.compile(r"[\w.$@/+-]+")


@dataclass(frozen=True, slots=True)
class TextSyntax:
    """A format whose strings are raw.

    Attributes:
        name: A short name.
        marker: What no string may hold.
        quote: What stands before and after a string.
        braces: What stands around the members of an object.
        brackets: What stands around the items of an array.
        comma: What stands between two members or items.
        around_key: What stands before a key and between the key and its value.
        after_value: What stands after the value of a member.
        chars: The characters that a string may hold.
        least: Characters of the shortest string.
        edges: The characters with which a string may start and end.
        end: What ends the arguments where they are only text.
        within: How inner values are written; None is this way.
        bare: How a key is written that need not be written like a string; None where every key is a string.
        quoted_keys: Whether a key that cannot stand bare is written like a string.
        nested: How an object or an array itself is written; None is this way.
        ending: What ends a value, where the syntax around it writes it after the value.
    """

    name: str
    marker: str = ""
    quote: str = ""
    braces: tuple[str, str] = ("{", "}")
    brackets: tuple[str, str] = ("[", "]")
    comma: str = ","
    around_key: tuple[str, str] = ("", ":")
    after_value: str = ""
    chars: Intervals = ALL
    least: int = 0
    edges: Intervals = ALL
    end: str = ""
    within: TextSyntax | JsonSyntax | None = None
    bare: TextSyntax | None = None
    quoted_keys: bool = False
    nested: JsonSyntax | None = None
    ending: str = ""

    @property
    def inner(self) -> TextSyntax | JsonSyntax:
        """How the values inside an object or an array are written."""
        return self.within or self

    @property
    def compound(self) -> TextSyntax | JsonSyntax:
        """How an object or an array itself is written."""
        return self.nested or self

    @property
    def keys(self) -> tuple[TextSyntax, ...]:
        """The ways in which a key may be written."""
        bare = () if self.bare is None else (self.bare,)
        return (*bare, self) if self.quoted_keys or not bare else bare

    @property
    def unsigned(self) -> bool:
        """Whether a string has no sign that it is one, so that its text may be that of another value."""
        return not self.quote and self.nested is not None

    def literal(self, value: Any) -> Expr:
        """Match exactly this JSON value.

        Raises:
            ValueError: The format cannot write it.
        """
        if isinstance(value, str):
            return literal(f"{self.quote}{self._checked(value)}{self.quote}")
        if self.nested is not None and isinstance(value, (Mapping, list, tuple)):
            return self.nested.literal(value)
        if isinstance(value, Mapping):
            members = [sequence(self.key(key), self.inner.literal(item), literal(self.after_value))
                       for key, item in value.items()]  # fmt: skip
            return self._joined(self.braces, members)
        if isinstance(value, (list, tuple)):
            return self._joined(self.brackets, [self.inner.literal(item) for item in value])
        try:
            return literal(json.dumps(value, allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{value!r} is not a JSON value") from error

    def _joined(self, around: tuple[str, str], parts: list[Expr]) -> Expr:
        between = [piece for part in parts for piece in (literal(self.comma), part)]
        return sequence(literal(around[0]), *between[1:], literal(around[1]))

    def _checked(self, text: str) -> str:
        if self.marker and self.marker in text:
            raise ValueError(f"{text!r} cannot be written: it holds {self.marker}, which ends a text")
        if not encodable(text):
            raise ValueError(f"{text!r} cannot be written: it holds half of a surrogate pair")
        strange = any(not _holds(self.chars, char) for char in text)
        if len(text) < self.least or strange or any(not _holds(self.edges, char) for char in text[:1] + text[-1:]):
            raise ValueError(f"{text!r} cannot stand as a name in this format")
        return text

    def key(self, name: str) -> Expr:
        """Match this key with what stands around it.

        Raises:
            ValueError: The name cannot stand in the format.
        """
        before, colon = self.around_key
        written = self if self.bare is None or (self.quoted_keys and not BARE_KEY.fullmatch(name)) else self.bare
        return sequence(literal(before), written.literal(name), literal(colon))

    def string(self, rules: Rules, low: int, high: int, cuts: int | None = None) -> Expr:
        """Match a string of `low` to `high` characters, `ended`."""
        low = max(low, self.least)
        stop = self.quote or self.ending
        if rules.runs and stop and spells(self.chars, self.marker) and high >= len(self.marker):
            text = text_until(rules, stop, self.marker, (low, high), (self.chars, ()))
            return rules.add(f"string-{low}-{high}", sequence(literal(self.quote), text))
        body = self.run(rules, (low, high), self.chars, cuts) if self.edges == ALL else self._edged(rules, high)
        return self.ended(rules, rules.add(f"string-{low}-{high}", self.quoted(body)))

    def _edged(self, rules: Rules, high: int) -> Expr:
        edge = char_class(intersect(self.edges, self.chars))
        inside = rules.repeat(self.char(rules, self.chars), 0, high - 2, "chars")
        return sequence(edge, optional(sequence(inside, edge))) if high > 1 else edge

    def quoted(self, body: Expr) -> Expr:
        """Match a string of which the body is given."""
        return sequence(literal(self.quote), body, literal(self.quote))

    def ended(self, rules: Rules, value: Expr) -> Expr:
        """Match a value and, in runs, what stands after it."""
        return sequence(value, literal(self.ending)) if rules.runs else value

    def after_member(self, rules: Rules) -> Expr:
        """Match what stands after a member whose value is `ended`."""
        return literal("" if rules.runs and self.inner.ending else self.after_value)

    def char(self, rules: Rules, chars: Intervals) -> Expr:
        """Match one character of a set."""
        return rules.add("char", char_class(chars) if rules.runs else split_class(chars))

    def run(self, rules: Rules, size: tuple[int, int], chars: Intervals, cuts: int | None = None) -> Expr:  # noqa: ARG002 - raw text is cut only where a marker may start
        """Match a text of a number of characters of a set, without the marker."""
        marked = spells(chars, self.marker) and size[1] >= len(self.marker)
        if marked and rules.runs:
            return text_until(rules, "", self.marker, size, (chars, ()))
        if marked:
            return text_without(rules, self.marker, size, chars, split_speller)
        if rules.runs:
            return text_in_runs(rules, chars, [], size)
        return rules.repeat(self.char(rules, chars), *size, "chars")


def split_speller(chars: Intervals, _: str) -> Expr:
    """Write a character of a set as a raw text does: there is no other way than that."""
    return split_class(chars)


def _holds(chars: Intervals, char: str) -> bool:
    return any(low <= ord(char) <= high for low, high in chars)


_PUNCTUATION = "!\"#%&'()*,:;<=>?[\\]^`{|}~"
_NAME = TextSyntax("name", chars=complement(union(_BLANKS, of(_PUNCTUATION))), least=1)
_PARAMETER_NAME = TextSyntax("parameter name", chars=complement(of("<>\n")), least=1, edges=complement(_BLANKS))
_PARAMETER_END = "</parameter>"
_NESTED = JsonSyntax("json in a parameter", _PARAMETER_END)
_AFTER = f"\n{_PARAMETER_END}\n"
_VALUE = TextSyntax("value of a parameter", _PARAMETER_END, nested=_NESTED, ending=_AFTER)

ESCAPE_SYNTAX = TextSyntax("escape", "<escape>", "<escape>", end="<end_function_call>", bare=_NAME, quoted_keys=True)
PARAMETER_SYNTAX = TextSyntax(
    "parameter",
    braces=("", ""),
    comma="",
    around_key=("<parameter=", ">\n"),
    after_value=_AFTER,
    end="</function>",
    within=_VALUE,
    bare=_PARAMETER_NAME,
)

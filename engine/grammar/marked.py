"""Text that ends with a marker, such as `<escape>`: any text but one that holds the marker, as grammar.

The marker's first character stands nowhere else in it, so a text is cut before each such character: what follows
must leave the marker's spelling, or stop short of it where the next cut or the end of the text comes. For xgrammar
`engine.grammar.automaton` writes the same texts in another form.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.grammar.charset import Intervals, complement, intersect, of
from engine.grammar.expr import EMPTY, Expr, Rules, choice, literal, optional, sequence

Spell = Callable[[Intervals, str], Expr]
"""Writes one character of a set, or the second argument in another way than raw, where there is one."""


def spells(chars: Intervals, marker: str) -> bool:
    """Whether the marker can be written with these characters."""
    return bool(marker) and all(intersect(chars, of(char)) for char in marker)


def text_without(rules: Rules, marker: str, size: tuple[int, int], chars: Intervals, spell: Spell) -> Expr:
    """Match a text of these characters that does not hold the marker.

    The length is exact for a text without the marker's first character. In any other that character counts as one
    together with what follows it up to where the marker's spelling ends, and so does a run of it: such a text may be
    longer or shorter than asked, and none that is as long as asked is left out.

    Args:
        rules: Where rules are added.
        marker: What the text must not hold; its first character stands nowhere else in it.
        size: Least and greatest number of characters.
        chars: The characters of the text; all of the marker's are among them.
        spell: How a character is written.
    """
    low, high = size
    if high < len(marker):
        return rules.repeat(rules.add("char", spell(chars, "")), low, high, "chars")
    rest = intersect(chars, complement(of(marker[0])))
    plain = rules.add("char", spell(rest, ""))
    short = rules.add("short", _unit(_short(marker)))
    run = rules.repeat(short, 0, high, "run")
    start = rules.add("cut", _unit(sequence(run, literal(marker[0]), _leaving(rest, marker, spell))))
    piece = rules.add("piece", choice(plain, start))
    end = Expr(run.text, 0, 0, run.form)
    if low == 0:
        return sequence(rules.repeat(piece, 0, high, "pieces"), end)
    enough = sequence(rules.repeat(plain, low, low, "chars"), rules.repeat(piece, 0, high - low, "pieces"), end)
    cut = choice(sequence(start, rules.repeat(piece, 0, high - 1, "pieces"), end), rules.repeat(short, 1, high, "run"))
    return choice(enough, sequence(rules.repeat(plain, 0, low - 1, "chars"), cut))


def _unit(part: Expr) -> Expr:
    """Return the piece as one that counts as one character."""
    return Expr(part.text, 1, 1, part.form)


def _short(marker: str) -> Expr:
    """Match a start of the marker, not all of it."""
    tail = EMPTY
    for char in reversed(marker[1:-1]):
        tail = optional(sequence(literal(char), tail))
    return sequence(literal(marker[0]), tail)


def _leaving(rest: Intervals, marker: str, spell: Spell) -> Expr:
    """Match what follows the marker's first character, up to the character that is not the marker's."""
    leave: Expr | None = None
    for char in reversed(marker[1:]):
        other = spell(intersect(rest, complement(of(char))), char)
        leave = other if leave is None else choice(other, sequence(literal(char), leave))
    assert leave is not None  # noqa: S101 - a marker has more than one character
    return leave

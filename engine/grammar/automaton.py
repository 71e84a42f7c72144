"""A text without a marker, with what ends it, as a grammar that hardly ever has two ways to read a character.

xgrammar 0.2 masks a token in microseconds where one thing only can go on, and in up to 1 s where many can. So the text
is written as the states of a search for the marker (Knuth, Morris and Pratt, 1977), each named after how much of it is
read, with runs of other characters between them. For the marker `<ab>`, which also ends the text:

    text ::= run tail
    run ::= [^<]{0,9}
    tail ::= "<" after-1
    after-1 ::= "<" after-1 | "a" after-2 | [^<a] text
    after-2 ::= "<" after-1 | "b" after-3 | [^<b] text
    after-3 ::= "<" after-1 | ">" | [^<>] text

Another end, such as the quote of a JSON string, may follow in the tail and in every state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.grammar.charset import Intervals, char_class, complement, intersect, of
from engine.grammar.expr import EMPTY, Expr, Rules, choice, counted, literal, optional, sequence

Ways = tuple[Intervals, tuple[Expr, ...]]


def text_until(
    rules: Rules, stop: str, marker: str, size: tuple[int, int], ways: Ways, *, anywhere: bool = True
) -> Expr:
    """Match a text and what ends it; the form for xgrammar (`Rules.runs`).

    The length is exact for a text without the marker's first character that is written in no other ways. In any other
    text each run may be as long as the text might be, and there may be any number of them; what is too long or too
    short is found when the arguments are checked, and nothing that fits is left out.

    Args:
        rules: Where rules are added.
        stop: What ends the text: the marker, or what begins with another character than the marker, or nothing where
            the text may end anywhere.
        marker: What the text must not hold; its first character stands nowhere else in it.
        size: Least and greatest number of characters, the greatest not 0.
        ways: The characters that stand in the text as they are, all of the marker's among them, and what else may
            stand for one character; each of those begins with a character that is not of the first.
        anywhere: Whether a text that nothing ends may be over where a start of the marker stands last.
    """
    automaton = _Automaton(rules, stop, marker, *ways, size[1], anywhere)
    low, high = size
    long = automaton.run(low, high)
    parts = [sequence(long, automaton.tail())] if long.text or low == 0 else []
    if low > 0:
        parts.append(sequence(automaton.run(0, low - 1), automaton.first_cut()))
    return Expr(choice(*parts).text, low + len(stop), high + len(stop), "choice")


@dataclass(frozen=True, slots=True)
class _Automaton:
    """The states; a state is what has been read of the marker, the empty text being none of it."""

    rules: Rules
    stop: str
    marker: str
    chars: Intervals
    others: tuple[Expr, ...]
    high: int
    anywhere: bool

    def run(self, low: int, high: int) -> Expr:
        """Match characters with which the marker does not begin."""
        plain = intersect(self.chars, complement(of(self.marker[0])))
        return self.rules.add(f"run-{low}-{high}", counted(char_class(plain), low, high)) if plain else EMPTY

    def text(self) -> Expr:
        """Match the rest of a text of which nothing is read that matters."""
        return self._rule("text", "", lambda: sequence(self.run(0, self.high), self.tail()))

    def tail(self) -> Expr:
        """Match the rest of a text after a run."""
        return self._rule("tail", "", lambda: self._after("", short=False))

    def first_cut(self) -> Expr:
        """Match the rest of a text that is too short after its first run, so that it cannot end there."""
        return self._rule("cut", "", lambda: self._after("", short=True))

    def _after(self, state: str, *, short: bool) -> Expr:
        """Match the rest of a text after a state; `short` where the text would be too short to end with the state."""
        noted = "".join(char for char in dict.fromkeys(self.marker) if self._state(state + char))
        parts = [self._move(state + char, short=short) for char in noted]
        parts += [sequence(other, self.text()) for other in self.others]
        away = intersect(self.chars, complement(of(noted)))
        if state and away:
            parts.append(sequence(char_class(away), self.text()))
        if self.stop != self.marker and (state or not short):
            parts.append(literal(self.stop))
        found = choice(*[part for part in parts if part is not None and part.text])
        ends = not self.stop and (self.anywhere if state else not short)
        return optional(Expr(found.text, 1, 1, "choice")) if ends else found

    def _state(self, read: str) -> str:
        """Return the longest end of what is read with which the marker begins."""
        return next((read[at:] for at in range(len(read)) if self.marker.startswith(read[at:])), "")

    def _move(self, read: str, *, short: bool) -> Expr | None:
        """Match the last character of what is read and what follows it; None where it cannot stand there."""
        written, state = literal(read[-1]), self._state(read)
        if state == self.marker:
            return written if self.stop == self.marker and not (short and read == self.marker) else None
        short = short and state == read and self.stop == self.marker
        return sequence(
            written, self._rule("short" if short else "after", state, lambda: self._after(state, short=short))
        )

    def _rule(self, hint: str, state: str, write: Callable[[], Expr]) -> Expr:
        key = (self.marker, self.stop, self.anywhere, self.chars, self.others, self.high, hint, state)
        return self.rules.recursive(f"{hint}-{len(state)}" if state else hint, key, write)

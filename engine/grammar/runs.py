"""Text as runs of plain characters: the form that xgrammar masks quickly.

xgrammar 0.2 takes microseconds a token inside a repetition of one character class, and 0.1 to 1 s where what repeats
is a choice or a rule (vocabulary of 49,000). So a text is a run, then other pieces, each with a run after it. The
length is exact for a text that is one run. In any other each run may be as long as the text might be: what is too long
is found when the arguments are checked, and nothing that fits is left out. Where a marker must not stand in the text,
`engine.grammar.automaton` writes the runs and what is between them; there may then be any number of runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.grammar.charset import Intervals, char_class
from engine.grammar.expr import EMPTY, Expr, Rules, choice, counted, sequence


def text_in_runs(
    rules: Rules,
    plain: Intervals,
    others: Sequence[Expr],
    size: tuple[int, int],
    cuts: int | None = None,
) -> Expr:
    """Match a text of a number of characters.

    Args:
        rules: Where rules are added.
        plain: The characters that stand as they are.
        others: What else may stand for one character; each begins unlike a plain character.
        size: Least and greatest number of characters.
        cuts: How many of the others there may be at most; None is as many as there may be characters.
    """
    low, high = size
    if high <= 0:
        return EMPTY
    one = char_class(plain) if plain else None
    run = EMPTY if one is None else rules.add(f"run-{high}", counted(one, 0, high))
    exact = EMPTY if one is None else rules.add(f"run-{low}-{high}", counted(one, low, high))
    parts = [exact] if one is not None or low == 0 else []
    if others:
        other = rules.add("other", choice(*others))
        more = rules.name("other-run", sequence(other, run))
        parts.append(sequence(run, more, counted(more, 0, (cuts or high) - 1)))
    return Expr(choice(*parts).text, low, high, "choice")


def few_cuts(longest: int) -> int:
    """Return how many cuts a text may have whose length no schema bounds, so that it ends in good time."""
    return max(16, longest // 8)

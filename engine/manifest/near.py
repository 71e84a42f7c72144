"""When is a misspelt word certain: the rule by which a repair, not only a hint, is offered."""

from __future__ import annotations

import re
from collections.abc import Iterable

_APART = re.compile(r"[-_ ]")


def meant(word: str, known: Iterable[str]) -> str | None:
    """Return the one known word that is meant for certain, or None.

    It is the only one that is the same but for case, `-`, `_` and blanks; else the only one that few slips away (a
    letter too many, too few, another one, or two swapped): one slip in words of four letters and more, two from eight.
    """
    words = [item for item in known if item != word]
    same = [item for item in words if _plain(item) == _plain(word)]
    if same:
        return same[0] if len(same) == 1 else None
    close = [item for item in words if slips(word, item) <= _allowed(word, item)]
    return close[0] if len(close) == 1 else None


def _plain(word: str) -> str:
    return _APART.sub("", word).lower()


def _allowed(word: str, other: str) -> int:
    longest = max(len(word), len(other))
    return 0 if longest < 4 else 1 if longest < 8 else 2


def slips(word: str, other: str) -> int:
    """Return the number of slips between two words (optimal string alignment); 99 where lengths alone say too many."""
    if abs(len(word) - len(other)) > 2:
        return 99
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, char in enumerate(word, 1):
        older, before, row = before, row, [i]
        for j, match in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (char != match))
            if i > 1 and j > 1 and char == other[j - 2] and word[i - 2] == match:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]

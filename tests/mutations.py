"""Hypothesis strategies: values that YAML can say, and manifests with a few parts replaced or removed."""

import json
from typing import Any

from hypothesis import strategies as st

WORDS = [
    "",
    "a",
    "../x",
    "t.pym",
    "1 +",
    "{{",
    "node.name",
    "typed@9",
    "[",
    "^(a",
    "$ref",
    "python",
    "*",
    "no",
    "\n",
    "é😀",
]
TEXT = st.sampled_from(WORDS) | st.text(
    st.characters(exclude_categories=("Cc", "Cs", "Cn"), exclude_characters="\ufeff"), max_size=8
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def mutate(data: st.DataObject, whole: Any) -> Any:
    """Return a copy in which one to three places hold something else or nothing."""
    mutated = json.loads(json.dumps(whole))
    for _ in range(data.draw(st.integers(1, 3))):
        _change(data, mutated)
    return mutated


def _change(data: st.DataObject, place: Any) -> None:
    while True:
        steps = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not steps:
            return
        step = data.draw(st.sampled_from(steps))
        if isinstance(place[step], (dict, list)) and place[step] and data.draw(st.booleans()):
            place = place[step]
            continue
        if data.draw(st.booleans()):
            place[step] = data.draw(VALUES)
        else:
            del place[step]
        return

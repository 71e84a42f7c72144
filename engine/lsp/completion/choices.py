"""One thing that may stand where the cursor is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Look = Literal["key", "value", "name", "file", "function", "keyword", "snippet"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A proposal.

    Attributes:
        label: What the list shows.
        look: The kind of thing, which gives it its symbol.
        first: Where the text begins that it replaces, in characters.
        last: Where that ends.
        insert: What is written; `$1`, `${1:name}` and `$0` are places to fill in when `snippet` is set.
        snippet: Whether `insert` has places to fill in.
        detail: A few words beside the label.
        docs: Markdown.
        also: A second insertion that the choice needs: offset and text.
    """

    label: str
    look: Look
    first: int
    last: int
    insert: str
    snippet: bool = False
    detail: str = ""
    docs: str | None = None
    also: tuple[int, str] | None = None


def literal(text: str) -> str:
    """Return a text as it must stand in a snippet."""
    return text.replace("\\", "\\\\").replace("$", "\\$").replace("}", "\\}")


def option(text: str) -> str:
    """Return a text as it must stand in a snippet's list of options."""
    return literal(text).replace(",", "\\,").replace("|", "\\|")

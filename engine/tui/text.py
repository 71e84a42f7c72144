"""Text that others wrote, made harmless for a terminal."""

from __future__ import annotations

from engine.diagnostics import printable


def harmless(text: str) -> str:
    """Spell out control characters other than line ends and tabs: a file's or a model's text must not drive anything.

    Carriage returns are dropped where they end a line.
    """
    return "\n".join(printable(line.removesuffix("\r")).expandtabs(4) for line in text.split("\n"))

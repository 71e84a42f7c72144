"""The docs page of each code."""

from __future__ import annotations

from importlib.resources import files

from engine.diagnostics.codes import CODES


def page(code: str) -> str:
    """Return the page of a code, as Markdown.

    Raises:
        KeyError: There is no such code.
    """
    row = CODES[code]
    text = files("engine.diagnostics").joinpath("pages", f"{code}.md").read_text(encoding="utf-8")
    return f"# {code} {row.name} ({row.severity})\n\n{row.summary}\n\n{text.strip()}\n"

"""Findings as values: where (Span), what (Diagnostic), how bad (severity of its code)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.diagnostics.codes import CODES

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The narrowest source range of a finding.

    Lines and columns are 1-based, columns count characters; the end is exclusive. `file` is the path as the user would
    type it.
    """

    file: str
    line: int = 1
    column: int = 1
    end_line: int = 0
    end_column: int = 0

    def __post_init__(self) -> None:
        if not self.end_line:
            object.__setattr__(self, "end_line", self.line)
            object.__setattr__(self, "end_column", self.end_column or self.column)


@dataclass(frozen=True, slots=True)
class Edit:
    """A repair that is certain: replace `span` by `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    Attributes:
        code: A key of the code table.
        message: One line that stands alone.
        span: Where.
        help: What to do about it, one line.
        fix: A certain repair, if there is one.
    """

    code: str
    message: str
    span: Span
    help: str | None = None
    fix: Edit | None = None

    @property
    def severity(self) -> Severity:
        """The severity of the code."""
        return CODES[self.code].severity

    @property
    def sort_key(self) -> tuple[Span, str, str]:
        """File, position, code, message."""
        return (self.span, self.code, self.message)


def did_you_mean(name: str, known: object) -> str | None:
    """Return `did you mean 'x'?` for the closest known name, or None when nothing is close.

    Args:
        name: The unknown name.
        known: An iterable of known names.
    """
    import difflib

    close = difflib.get_close_matches(name, [str(item) for item in known], n=1, cutoff=0.6)  # type: ignore[attr-defined]
    return f"did you mean '{close[0]}'?" if close else None

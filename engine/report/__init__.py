"""Reports: a run as one HTML page that needs nothing beside itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.report.page import render
    from engine.report.reading import Limits, collect
    from engine.report.write import report_of, write_report

__all__ = ["Limits", "collect", "render", "report_of", "write_report"]

__getattr__ = lazy(
    __name__,
    {"page": ("render",), "reading": ("Limits", "collect"), "write": ("report_of", "write_report")},
)

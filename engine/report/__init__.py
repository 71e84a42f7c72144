"""Reports: a run as one HTML page that needs nothing beside itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.report.collect import Limits, collect
    from engine.report.page import render
    from engine.report.write import report_of, write_report

__all__ = ["Limits", "collect", "render", "report_of", "write_report"]

__getattr__ = lazy(
    __name__,
    {"collect": ("Limits", "collect"), "page": ("render",), "write": ("report_of", "write_report")},
)

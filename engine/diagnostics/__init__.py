"""Diagnostics: findings as values, collected by all passes and rendered at the border."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.diagnostics.codes import CODES, Code
from engine.diagnostics.core import Diagnostic, Edit, Severity, Span, did_you_mean
from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.diagnostics.excerpt import printable
    from engine.diagnostics.explain import page
    from engine.diagnostics.renderers import render

__all__ = [
    "CODES",
    "FORMATS",
    "Code",
    "Diagnostic",
    "Edit",
    "Severity",
    "Span",
    "did_you_mean",
    "page",
    "printable",
    "render",
]

FORMATS = ("full", "concise", "json", "github", "gitlab", "sarif", "junit")

__getattr__ = lazy(__name__, {"excerpt": ("printable",), "explain": ("page",), "renderers": ("render",)})

"""Diagnostics: findings as values, collected by all passes and rendered at the border."""

from engine.diagnostics.codes import CODES, Code
from engine.diagnostics.core import Diagnostic, Edit, Severity, Span, did_you_mean

__all__ = ["CODES", "Code", "Diagnostic", "Edit", "Severity", "Span", "did_you_mean"]

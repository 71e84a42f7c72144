"""Turns what goes wrong in a template into diagnostics with the author's own file and line."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from jinja2 import TemplateAssertionError, TemplateNotFound, TemplateSyntaxError, UndefinedError

from engine.diagnostics import Diagnostic, Span
from engine.prompts.budget import BudgetError

MAX_MESSAGE = 300


def one_line(text: object) -> str:
    """Return text on one line, shortened."""
    line = " ".join(str(text).split())
    return line if len(line) <= MAX_MESSAGE else line[: MAX_MESSAGE - 1] + "…"


def syntax_diagnostic(error: BaseException, file: str, source: str) -> Diagnostic:
    """Return P001 (or P005 for a missing filter) for a template that does not parse or compile."""
    line = getattr(error, "lineno", None) or 1
    if isinstance(error, TemplateAssertionError) and "No " in str(error):
        return Diagnostic("P005", one_line(error.message), Span(file, line))
    if isinstance(error, TemplateSyntaxError):
        detail = one_line(error.message)
    elif isinstance(error, (RecursionError, MemoryError, SyntaxError)):
        line, detail = 1, "the template is nested too deeply"
    else:
        detail = one_line(error)
    text = source.split("\n")[line - 1] if line <= source.count("\n") + 1 else ""
    column = len(text) - len(text.lstrip()) + 1
    return Diagnostic("P001", detail.rstrip("."), Span(file, line, column, line, max(len(text) + 1, column)))


def render_diagnostic(error: BaseException, show: Callable[[str], str], name: str) -> Diagnostic:
    """Return the diagnostic of a failed render, at the innermost template line of the traceback.

    Args:
        error: What was raised.
        show: Returns a template's path as the user would type it.
        name: The template that was rendered.
    """
    file, line = _place(error.__traceback__, name)
    span = Span(show(file), line)
    if isinstance(error, UndefinedError):
        return Diagnostic("P002", one_line(error.message), span, "Pass a value, or test it with `is defined`.")
    if isinstance(error, TemplateNotFound):
        return Diagnostic("P004", f"the template {one_line(error.name)!r} is not a file of the bundle", span)
    if isinstance(error, BudgetError):
        return Diagnostic(
            "P006", one_line(error), span, "Make the template do less; its values come from tools or context."
        )
    if isinstance(error, RecursionError):
        return Diagnostic("P006", "templates or macros call each other without end", span)
    return Diagnostic("P006", f"{type(error).__name__}: {one_line(error)}", span)


def _place(traceback: TracebackType | None, name: str) -> tuple[str, int]:
    place = (name, 1)
    while traceback is not None:
        template: Any = traceback.tb_frame.f_globals.get("__jinja_template__")
        if template is not None:
            place = (template.name or name, template.get_corresponding_lineno(traceback.tb_lineno))
        traceback = traceback.tb_next
    return place

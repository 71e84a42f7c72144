"""Prompts: the sandboxed, strict Jinja templates and expressions of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.prompts.budget import RenderLimits
    from engine.prompts.expression import Expression, check_expression
    from engine.prompts.scope import NODE_FIELDS, Scope, prompt_scope
    from engine.prompts.templates import Templates

__all__ = ["NODE_FIELDS", "Expression", "RenderLimits", "Scope", "Templates", "check_expression", "prompt_scope"]

_HOMES = {
    "NODE_FIELDS": "scope",
    "Expression": "expression",
    "RenderLimits": "budget",
    "Scope": "scope",
    "Templates": "templates",
    "check_expression": "expression",
    "prompt_scope": "scope",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: Jinja costs 40 ms."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

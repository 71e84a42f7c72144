"""Prompts: the sandboxed, strict Jinja templates and expressions of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.prompts.budget import RenderLimits
    from engine.prompts.expression import Expression, check_expression
    from engine.prompts.layers import PARENT, Layers
    from engine.prompts.scope import NODE_FIELDS, Scope, prompt_scope
    from engine.prompts.templates import Templates

__all__ = [
    "NODE_FIELDS",
    "PARENT",
    "Expression",
    "Layers",
    "RenderLimits",
    "Scope",
    "Templates",
    "check_expression",
    "prompt_scope",
]

__getattr__ = lazy(
    __name__,
    {
        "budget": ("RenderLimits",),
        "expression": ("Expression", "check_expression"),
        "layers": ("PARENT", "Layers"),
        "scope": ("NODE_FIELDS", "Scope", "prompt_scope"),
        "templates": ("Templates",),
    },
)

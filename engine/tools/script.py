"""A `.pym` script, parsed: its inputs, its externals, and the code that the sandbox runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.diagnostics import Diagnostic, Span

REQUIRED: Any = object()
"""The default of an input that has none."""


@dataclass(frozen=True, slots=True)
class ScriptInput:
    """One `name: annotation = Input("name", …)`.

    Attributes:
        name: The variable.
        annotation: As written.
        schema: Its JSON Schema, with description and default.
        required: True exactly when there is no default.
        default: A JSON value, or REQUIRED.
        description: From `Input(description=…)`, else from a comment behind or above it; may be empty.
        span: Where the name stands.
    """

    name: str
    annotation: str
    schema: Mapping[str, Any]
    required: bool
    default: Any
    description: str
    span: Span


@dataclass(frozen=True, slots=True)
class ScriptExternal:
    """One `@external` declaration.

    Attributes:
        name: The function.
        is_async: True for `async def`.
        parameters: Names of its parameters, in order.
        signature: The declaration as a stub, one line.
        span: Where the name stands.
    """

    name: str
    is_async: bool
    parameters: tuple[str, ...]
    signature: str
    span: Span


@dataclass(frozen=True, slots=True)
class Script:
    """A script without errors.

    Attributes:
        name: The file's stem.
        file: The path as the user would type it.
        description: The module docstring, else the comment block at the top; may be empty.
        inputs: In the order of the file.
        externals: In the order of the file.
        code: What the sandbox runs: the text with its declarations blanked, every line and column kept.
        stubs: What the type checker knows besides the code.
        digest: sha256 of the text, hex.
    """

    name: str
    file: str
    description: str
    inputs: tuple[ScriptInput, ...]
    externals: tuple[ScriptExternal, ...]
    code: str
    stubs: str
    digest: str

    def input(self, name: str) -> ScriptInput | None:
        """Return the input of this name."""
        return next((item for item in self.inputs if item.name == name), None)


@dataclass(frozen=True, slots=True)
class ParsedScript:
    """A script, or None when it has errors, and all findings, sorted."""

    script: Script | None
    diagnostics: tuple[Diagnostic, ...] = field(default=())

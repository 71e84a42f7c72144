"""The neutral constraint: what a reply may look like, before a server's dialect spells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.grammar.bounds import DEFAULT_BOUNDS, Bounds

Kind = Literal["ebnf", "structural_tag", "json_schema", "strict_tools", "none"]
Mode = Literal["auto", "ebnf", "structural_tag", "json_schema"]
Matcher = Literal["any", "xgrammar"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a reply may look like.

    Attributes:
        kind: How `value` is written.
        value: EBNF text with a rule `root`, a structural tag, a JSON Schema or, for strict_tools, the fields `tools`,
            `tool_choice` and `parallel_tool_calls` of a request; None for kind none.
        strategy: The strategy and version that made it, such as `typed@1`.
    """

    kind: Kind
    value: str | Mapping[str, Any] | None = None
    strategy: str = "none"


@dataclass(frozen=True, slots=True)
class ConstraintOptions:
    """What a manifest's `grammar` block asks for, resolved.

    Attributes:
        strategy: Its name, with or without a version.
        mode: How the constraint is written.
        parallel_calls: May one turn hold several calls.
        text: May a turn be plain text.
        custom: Strategy custom: the bundle's own EBNF text or structural tag.
        bounds: How large the parts of a reply may get where a schema does not say.
        matcher: What will match replies: `xgrammar` gets texts in the form that it masks quickly, in which the length
            of a text with escapes is left to the check after parsing; `any` gets them exactly. Structural tags are
            always for xgrammar.
        max_tokens: The token limit of a reply; with it the bounds shrink until the longest reply fits. None leaves
            them as they are.
    """

    strategy: str = "typed"
    mode: Mode = "auto"
    parallel_calls: bool = False
    text: Literal["forbidden", "allowed"] = "forbidden"
    custom: str | Mapping[str, Any] | None = None
    bounds: Bounds = DEFAULT_BOUNDS
    max_tokens: int | None = None
    matcher: Matcher = "any"


NO_CONSTRAINT = Constraint("none")

"""The neutral constraint: what a reply may look like, before a server's dialect spells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["ebnf", "structural_tag", "json_schema", "none"]


@dataclass(frozen=True, slots=True)
class Constraint:
    """What a reply may look like.

    Attributes:
        kind: How `value` is written.
        value: EBNF text with a rule `root`, a structural tag or a JSON Schema; None for kind none.
        strategy: The strategy and version that made it, such as `typed@1`.
    """

    kind: Kind
    value: str | Mapping[str, Any] | None = None
    strategy: str = "none"


@dataclass(frozen=True, slots=True)
class ConstraintOptions:
    """What a manifest's `grammar` block asks for, resolved (`custom` holds the bundle's own text or tag)."""

    strategy: str = "typed"
    mode: Literal["auto", "ebnf", "structural_tag", "json_schema"] = "auto"
    parallel_calls: bool = False
    text: Literal["forbidden", "allowed"] = "forbidden"
    custom: str | Mapping[str, Any] | None = None


NO_CONSTRAINT = Constraint("none")

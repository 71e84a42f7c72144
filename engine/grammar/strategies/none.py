"""none: the reply is not held at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.grammar.constraint import NO_CONSTRAINT, Constraint, ConstraintOptions
from engine.grammar.frame import CallFrame
from engine.messages import ToolSchema


@dataclass(frozen=True, slots=True)
class Unconstrained:
    """The strategy without a constraint."""

    name: str = "none"
    version: int = 1

    def constraint(self, tools: Sequence[ToolSchema], frame: CallFrame, options: ConstraintOptions) -> Constraint:  # noqa: ARG002 - the Protocol's signature
        """Return no constraint."""
        return NO_CONSTRAINT


NONE = Unconstrained()

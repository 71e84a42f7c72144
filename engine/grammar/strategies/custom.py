"""custom: the bundle's own EBNF or structural tag, sent unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.errors import ConfigError
from engine.grammar.constraint import Constraint, ConstraintOptions
from engine.grammar.frame import CallFrame
from engine.messages import ToolSchema


@dataclass(frozen=True, slots=True)
class Custom:
    """The strategy whose grammar is a file of the bundle."""

    name: str = "custom"
    version: int = 1

    def constraint(self, tools: Sequence[ToolSchema], frame: CallFrame, options: ConstraintOptions) -> Constraint:  # noqa: ARG002 - the Protocol's signature
        """Return what the options hold: text is EBNF, a mapping is a structural tag.

        Raises:
            ConfigError: The options hold nothing.
        """
        if options.custom is None:
            raise ConfigError("grammar strategy 'custom' needs a grammar: name its file in grammar.file")
        return Constraint("ebnf" if isinstance(options.custom, str) else "structural_tag", options.custom, "custom@1")


CUSTOM = Custom()

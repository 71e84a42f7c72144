"""What every family shares that is told of tools in the prompt and calls them in text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from engine.errors import ConfigError
from engine.grammar.constraint import Constraint, ConstraintOptions, Mode
from engine.grammar.frame import CallFrame
from engine.grammar.json_mode import json_inexpressible
from engine.grammar.schema import Problem, inexpressible
from engine.grammar.strategies import resolve_strategy
from engine.messages import Reply, ToolSchema
from engine.models.api_calls import read_api_calls


class TextFamily:
    """The part of a ModelPlugin that follows from how a call is written.

    Args:
        grammar_strategy: The default strategy.

    Attributes:
        name: The family's name in a manifest.
        call_frame: How it writes a call.
        grammar_modes: Its modes: `auto`, then the others, the best first.
    """

    name: str
    call_frame: ClassVar[CallFrame]
    grammar_modes: ClassVar[tuple[Mode, ...]] = ("auto", "ebnf", "structural_tag", "json_schema")

    def __init__(self, grammar_strategy: str = "typed") -> None:
        self._strategy = grammar_strategy

    def tool_choice(self, tools: Sequence[ToolSchema]) -> str | None:  # noqa: ARG002 - the Protocol's signature
        """Return None: the tools travel in the prompt."""
        return None

    def grammar_strategy(self) -> str:
        """Return the default strategy."""
        return self._strategy

    def modes(self) -> tuple[Mode, ...]:
        """Return the grammar modes that this family supports."""
        return self.grammar_modes

    def constraint(self, tools: Sequence[ToolSchema], options: ConstraintOptions) -> Constraint:
        """Return the constraint of a reply that may call these tools; without tools there is none.

        Raises:
            ConfigError: The strategy does not exist, or the family has no such mode; the message lists the names.
            ToolGrammarError: A tool's schema has no grammar under the strategy.
        """
        strategy = resolve_strategy(options.strategy)
        if strategy.name not in ("custom", "none") and options.mode not in self.grammar_modes:
            raise ConfigError(
                f"model plugin '{self.name}' has no grammar mode '{options.mode}'; it has "
                f"{', '.join(self.grammar_modes)}"
            )
        return strategy.constraint(tools, self.call_frame, replace(options, mode=self._chosen(options.mode)))

    def unheld(self, tool: ToolSchema, mode: Mode) -> list[Problem]:
        """Return what the tool's schema says and strategy typed does not hold in a mode."""
        if self._chosen(mode) == "json_schema":
            return json_inexpressible(tool.parameters)
        return inexpressible(tool.parameters, syntax=self.call_frame.syntax)

    def parse_response(
        self, text: str, tools: Sequence[ToolSchema] = (), api_calls: Sequence[Mapping[str, Any]] = ()
    ) -> Reply:
        """Parse a reply; where the API parsed the calls itself they keep their ids, and the text is only text."""
        if not api_calls:
            return self.read_text(text, tools)
        good, bad = read_api_calls(api_calls)
        return Reply(text.strip(), good, bad)

    def read_text(self, text: str, tools: Sequence[ToolSchema]) -> Reply:
        """Return the calls of a text, those that cannot be read, and the text around them."""
        raise NotImplementedError

    def _chosen(self, mode: Mode) -> Mode:
        return next(best for best in self.grammar_modes if best != "auto") if mode == "auto" else mode

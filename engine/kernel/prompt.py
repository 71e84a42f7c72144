"""What is sent: a pure function of the messages and the tools, so that equal inputs give equal bytes."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from engine.errors import UnenforcedError
from engine.grammar.constraint import NO_CONSTRAINT, Constraint, ConstraintOptions, Kind, Matcher, Mode
from engine.kernel.history import trim
from engine.messages import Message, ToolSchema
from engine.models.base import ModelPlugin


class PromptBuilder:
    """Builds wire messages and constraints for one model family.

    Args:
        plugin: The model family.
        options: What a reply may look like; None is the family's default strategy.
        history: How many messages a request carries at most.
        max_tokens: The token limit of a reply, into which the constraint fits it where the options name no other.
    """

    def __init__(
        self,
        plugin: ModelPlugin,
        options: ConstraintOptions | None = None,
        history: int = 50,
        max_tokens: int | None = None,
    ) -> None:
        self._plugin, self._history = plugin, history
        options = options or ConstraintOptions(strategy=plugin.grammar_strategy())
        self._options = options if options.max_tokens is not None else replace(options, max_tokens=max_tokens)
        self._constraints: dict[str, Constraint] = {}
        self._last: tuple[Sequence[ToolSchema], Collection[Kind] | None, Constraint] | None = None

    def wire(self, messages: Sequence[Message], tools: Sequence[ToolSchema]) -> list[dict[str, Any]]:
        """Return the wire messages: the system turn with the tools declared natively, then what the history keeps."""
        kept = trim(messages, self._history)
        system = kept.pop(0).content if kept and kept[0].role == "system" else None
        return self._plugin.build_messages(None, system, tools, kept)

    def constraint(self, tools: Sequence[ToolSchema], kinds: Collection[Kind] | None = None) -> Constraint:
        """Return the constraint of a reply that may call these tools; made once per set of tools.

        Args:
            tools: What the model is offered.
            kinds: What the server can be asked for; None where it is not known, and then the family's best is taken.

        Raises:
            UnenforcedError: The server takes no constraint that the family writes.
            ConfigError: The family has no such strategy or mode, or a schema cannot be constrained.
        """
        if not tools and self._options.custom is None:
            return NO_CONSTRAINT
        if self._last is None or self._last[0] is not tools or self._last[1] != kinds:
            self._last = (tools, kinds, self._choose(tools, kinds))
        return self._last[2]

    def declared(self, tools: Sequence[ToolSchema], constraint: Constraint) -> tuple[Sequence[ToolSchema], str | None]:
        """Return the tools that the request itself declares, and its `tool_choice`; nothing where the prompt has them.

        Without a constraint the model may answer in text, so no call is required of it.
        """
        choice = self._plugin.tool_choice(tools) if tools else None
        if choice is None:
            return (), None
        return tools, "auto" if constraint.kind == "none" else choice

    def _choose(self, tools: Sequence[ToolSchema], kinds: Collection[Kind] | None) -> Constraint:
        made: list[Constraint] = []
        for mode in self._modes():
            made.append(self._made(tools, mode, kinds or ()))
            if kinds is None or made[-1].kind == "none" or made[-1].kind in kinds:
                return made[-1]
        raise UnenforcedError(_no_kind(self._plugin.name, [one.kind for one in made], kinds or ()))

    def _modes(self) -> tuple[Mode, ...]:
        """Return the modes to try, the best first: `auto` means all of the family, save for a custom grammar."""
        if self._options.mode != "auto" or self._options.custom is not None:
            return (self._options.mode,)
        return tuple(mode for mode in self._plugin.modes() if mode != "auto")

    def _made(self, tools: Sequence[ToolSchema], mode: Mode, kinds: Collection[Kind]) -> Constraint:
        # Who takes structural tags matches with xgrammar.
        matcher: Matcher = "xgrammar" if "structural_tag" in kinds else "any"
        key = f"{mode} {matcher} {json.dumps([(tool.name, tool.parameters) for tool in tools], default=dict)}"
        if key not in self._constraints:
            self._constraints[key] = self._plugin.constraint(tools, replace(self._options, mode=mode, matcher=matcher))
        return self._constraints[key]


def _no_kind(plugin: str, written: Sequence[Kind], kinds: Collection[Kind]) -> str:
    takes = f"takes only {', '.join(kinds)}" if kinds else "takes no constraint"
    return (
        f"the model plugin '{plugin}' writes {', '.join(written)}, and the server {takes}: "
        f"change grammar.mode or grammar.strategy in bundle.yaml, or the server (engine doctor shows what is in force)"
    )

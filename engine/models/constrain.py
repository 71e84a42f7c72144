"""What every family that calls tools in text shares: its constraint, from the frame of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.errors import ConfigError
from engine.grammar.constraint import Constraint, ConstraintOptions, Mode
from engine.grammar.frame import CallFrame
from engine.grammar.json_mode import json_inexpressible
from engine.grammar.schema import Problem, inexpressible
from engine.grammar.strategies import resolve_strategy
from engine.messages import ToolSchema


def frame_constraint(
    plugin: str, modes: Sequence[Mode], frame: CallFrame, tools: Sequence[ToolSchema], options: ConstraintOptions
) -> Constraint:
    """Return the constraint of a reply that may call these tools; without tools there is none.

    Args:
        plugin: The family's name, for errors.
        modes: The modes that the family has: `auto`, then the others, the best first.
        frame: How the family writes a call.
        tools: The tools that a reply may call.
        options: What is asked for; mode `auto` is the family's best.

    Raises:
        ConfigError: The strategy does not exist, or the family has no such mode; the message lists the names.
        ToolGrammarError: A tool's schema has no grammar under the strategy.
    """
    strategy = resolve_strategy(options.strategy)
    if strategy.name not in ("custom", "none") and options.mode not in modes:
        raise ConfigError(f"model plugin '{plugin}' has no grammar mode '{options.mode}'; it has {', '.join(modes)}")
    return strategy.constraint(tools, frame, replace(options, mode=_chosen(modes, options.mode)))


def frame_unheld(modes: Sequence[Mode], frame: CallFrame, tool: ToolSchema, mode: Mode) -> list[Problem]:
    """Return what a tool's schema says and strategy typed does not hold in a mode; see `ModelPlugin.unheld`."""
    if _chosen(modes, mode) == "json_schema":
        return json_inexpressible(tool.parameters)
    return inexpressible(tool.parameters, syntax=frame.syntax)


def _chosen(modes: Sequence[Mode], mode: Mode) -> Mode:
    return next(best for best in modes if best != "auto") if mode == "auto" else mode

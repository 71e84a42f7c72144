"""Constraint, calls and replies without a bundle: what a program needs that talks to a model itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

from engine.grammar.constraint import Constraint, ConstraintOptions, Matcher, Mode
from engine.grammar.ordering import order_arguments
from engine.messages import Reply, ToolCall, ToolSchema
from engine.models.base import ModelPlugin
from engine.models.plugins import get_plugin

AnyTool = ToolSchema | Mapping[str, Any]


def _plugin(plugin: str | ModelPlugin) -> ModelPlugin:
    return get_plugin(plugin) if isinstance(plugin, str) else plugin


def _tools(tools: Iterable[AnyTool]) -> list[ToolSchema]:
    return [ToolSchema.from_any(tool) for tool in tools]


def constraint_for(  # noqa: PLR0913 - what a manifest's grammar block can say, each with its default
    tools: Iterable[AnyTool],
    plugin: str | ModelPlugin = "qwen",
    strategy: str = "typed",
    mode: Mode = "auto",
    parallel_calls: bool = False,
    text: Literal["forbidden", "allowed"] = "forbidden",
    *,
    matcher: Matcher = "any",
) -> Constraint:
    """Return what a reply that may call these tools can look like; the same arguments give the same constraint.

    Args:
        tools: The tools.
        plugin: The model family.
        strategy: How strictly the reply is held.
        mode: How the constraint is written; `auto` is the family's best.
        parallel_calls: May one reply hold several calls.
        text: May the reply be plain text.
        matcher: `xgrammar` for a server that matches with it (vLLM, SGLang): an EBNF whose texts it masks quickly.

    Raises:
        ConfigError: The plugin, the strategy or the mode does not exist, or a tool's schema has no grammar.
    """
    options = ConstraintOptions(strategy, mode, parallel_calls, text, matcher=matcher)
    return _plugin(plugin).constraint(_tools(tools), options)


def format_calls(calls: Iterable[ToolCall], plugin: str | ModelPlugin = "qwen", tools: Iterable[AnyTool] = ()) -> str:
    """Return the calls as the model would write them; with `tools`, their arguments in the order of the schemas."""
    schemas = {tool.name: tool.parameters for tool in _tools(tools)}
    ordered = [
        replace(call, arguments=order_arguments(schemas[call.name], call.arguments)) if call.name in schemas else call
        for call in calls
    ]
    return _plugin(plugin).format_calls(ordered)


def parse_reply(text: str, plugin: str | ModelPlugin = "qwen", tools: Iterable[AnyTool] = ()) -> Reply:
    """Return text and calls of a reply; malformed calls are reported, not dropped."""
    return _plugin(plugin).parse_response(text, _tools(tools))

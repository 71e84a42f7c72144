"""Tools whose results carry the text of context providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.messages import ToolCall, ToolResult, ToolSchema
from engine.tools import Tool, ToolEnvironment


@dataclass(frozen=True, slots=True)
class ContextualTool:
    """A tool with context appended to its results.

    Attributes:
        inner: The tool.
        names: The context providers.
        variables: The task's variables; `context` is read at each call, since it may be renewed each turn.
    """

    inner: Tool
    names: Sequence[str]
    variables: Mapping[str, Any]

    @property
    def schema(self) -> ToolSchema:
        """What the model sees."""
        return self.inner.schema

    async def call(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:
        """Run the tool and append the context."""
        result = await self.inner.call(call, environment)
        values = [self.variables["context"].get(name) for name in self.names]
        texts = [value if isinstance(value, str) else str(value) for value in values if value]
        return replace(result, content="\n".join([result.content, *texts]))


def with_context(tools: Sequence[Tool], names: Mapping[str, Sequence[str]], variables: Mapping[str, Any]) -> list[Tool]:
    """Return the tools; those that have context providers are wrapped.

    Args:
        tools: The tools.
        names: Context providers by the name of the tool.
        variables: The task's variables.
    """
    return [
        ContextualTool(tool, wanted, variables) if (wanted := names.get(tool.schema.name, ())) else tool
        for tool in tools
    ]

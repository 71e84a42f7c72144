"""A tool: a callable offered to the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.messages import ToolCall, ToolResult, ToolSchema


@dataclass(frozen=True, slots=True)
class ToolEnvironment:
    """What the engine gives to a call.

    Attributes:
        inputs: Values of bound inputs by name; the model can never override them.
        externals: Host functions by name, sync or async.
    """

    inputs: Mapping[str, Any] = field(default_factory=dict)
    externals: Mapping[str, Callable[..., Any]] = field(default_factory=dict)


class Tool(Protocol):
    """A callable offered to the model."""

    @property
    def schema(self) -> ToolSchema:
        """What the model sees."""
        ...

    async def call(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:
        """Run the tool; every failure becomes an error result."""
        ...

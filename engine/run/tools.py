"""A bundle's tools as one task sees them: bound inputs filled, context appended to results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.messages import ToolCall, ToolResult, ToolSchema
from engine.tools import Tool, ToolEnvironment


@dataclass(frozen=True, slots=True)
class TaskTool:
    """A tool with the inputs that the engine fills for this task.

    Attributes:
        inner: The bundle's tool.
        inputs: Bound inputs by name.
        context: Names of the context providers whose text is appended to a result.
        values: The task's context by name, read at each call.
    """

    inner: Tool
    inputs: Mapping[str, Any]
    context: Sequence[str]
    values: Mapping[str, Any]

    @property
    def schema(self) -> ToolSchema:
        """What the model sees."""
        return self.inner.schema

    async def call(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:
        """Run the tool with this task's bound inputs."""
        result = await self.inner.call(call, replace(environment, inputs={**environment.inputs, **self.inputs}))
        texts = [str(self.values[name]) for name in self.context if self.values.get(name)]
        return replace(result, content="\n".join([result.content, *texts])) if texts else result

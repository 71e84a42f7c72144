"""A bundle's scripts at work: tools with their bound inputs, and context providers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.errors import ToolError
from engine.messages import ToolCall, ToolResult, ToolSchema
from engine.tools import PymTool, Tool, ToolEnvironment, hidden_inputs
from engine.tools.runner import ScriptRunner

if TYPE_CHECKING:
    from engine.bundle.bundle import BundleContext, BundleTool


class BoundTool:
    """A script tool that sees its own bound inputs only.

    Args:
        inner: The tool.
        bind: Names that the manifest binds.
    """

    def __init__(self, inner: Tool, bind: tuple[str, ...]) -> None:
        self._inner, self._bind = inner, bind

    @property
    def schema(self) -> ToolSchema:
        """What the model sees."""
        return self._inner.schema

    async def call(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:
        """Run the tool; every failure becomes an error result."""
        inputs = dict(environment.inputs)
        for name in self._bind:
            inputs.pop(name, None)
            key = f"{self.schema.name}.{name}"
            if key in environment.inputs:
                inputs[name] = environment.inputs[key]
        return await self._inner.call(call, replace(environment, inputs=inputs))


def make_tool(tool: BundleTool, runner: ScriptRunner) -> Tool:
    """Return a tool of a bundle, ready to be called."""
    inner = PymTool(
        tool.script,
        schema=tool.schema,
        checker=tool.checker,
        bound=hidden_inputs(tool.script, tool.spec),
        limits=tool.spec.limits,
        runner=runner,
    )
    return BoundTool(inner, tuple(tool.spec.bind)) if tool.spec.bind else inner


async def run_provider(
    item: BundleContext, runner: ScriptRunner, inputs: Mapping[str, Any], externals: Mapping[str, Callable[..., Any]]
) -> Any:
    """Run a context provider and return its result.

    Raises:
        ToolError: It failed; the message names it.
    """
    missing = [declared.name for declared in item.script.inputs if declared.required and declared.name not in inputs]
    if missing:
        raise ToolError(f"the context provider '{item.spec.name}' has no value for its input '{missing[0]}' here")
    values = {declared.name: inputs.get(declared.name, declared.default) for declared in item.script.inputs}
    try:
        return await runner.run(item.script, values, externals)
    except ToolError as error:
        raise ToolError(f"the context provider '{item.spec.name}' failed: {error}") from error

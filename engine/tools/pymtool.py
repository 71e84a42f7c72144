"""A `.pym` script as a tool."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from engine.errors import ToolError
from engine.grammar.argument_check import ArgumentChecker
from engine.manifest.bundle_model import ScriptLimits
from engine.messages import ToolCall, ToolResult, ToolSchema
from engine.tools.base import ToolEnvironment
from engine.tools.results import error_result, value_result
from engine.tools.runner import DEFAULT_LIMITS, ScriptRunner
from engine.tools.script import Script, ScriptInput


class PymTool:
    """A sandboxed tool.

    Args:
        script: The script.
        schema: What the model sees, and how it calls it; its defaults win over the script's.
        checker: Checks arguments against the schema, where several tools share it.
        bound: Names of the inputs that the engine fills; the model can never set them.
        limits: What one call may use.
        runner: Runs the script.
    """

    def __init__(
        self,
        script: Script,
        *,
        schema: ToolSchema,
        checker: ArgumentChecker | None = None,
        bound: Iterable[str] = (),
        limits: ScriptLimits = DEFAULT_LIMITS,
        runner: ScriptRunner,
    ) -> None:
        self.name = schema.name
        self.script = script
        self.limits = limits
        self.bound = frozenset(bound)
        self._schema = schema
        self._runner = runner
        self._checker = checker or ArgumentChecker(schema.parameters)
        self._properties = schema.parameters.get("properties", {})

    @property
    def schema(self) -> ToolSchema:
        """What the model sees."""
        return self._schema

    async def call(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:
        """Check the arguments, run the script, and return its result; every failure is an error result."""
        began = time.perf_counter()
        problem = self._problem(call)
        if problem:
            return error_result(call, problem, _ms(began))
        try:
            inputs = {item.name: self._value(item, call, environment) for item in self.script.inputs}
            value = await self._runner.run(self.script, inputs, environment.externals, self.limits)
        except ToolError as error:
            return error_result(call, str(error), _ms(began))
        return value_result(call, value, _ms(began))

    def _problem(self, call: ToolCall) -> str:
        taken = sorted(self.bound & call.arguments.keys())
        if taken:
            return f"{self.name}: {', '.join(taken)} is set by the engine and cannot be passed"
        problems = self._checker.problems(call.arguments)
        return f"{self.name}: the arguments do not fit: {problems}" if problems else ""

    def _value(self, item: ScriptInput, call: ToolCall, environment: ToolEnvironment) -> Any:
        if item.name in self.bound:
            if item.name in environment.inputs:
                return environment.inputs[item.name]
        elif item.name in call.arguments:
            value = call.arguments[item.name]
            whole = isinstance(value, float) and item.schema.get("type") == "integer"
            return int(value) if whole else value  # JSON Schema calls 1.0 an integer
        default = self._properties.get(item.name, {}).get("default", item.default)
        if item.required and "default" not in self._properties.get(item.name, {}):
            raise ToolError(f"{self.name}: the engine has no value for the input '{item.name}' here")
        return default


def _ms(began: float) -> float:
    return (time.perf_counter() - began) * 1000

"""Finds the tool of a call and runs it; nothing that happens in there ends a run."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from engine.diagnostics import did_you_mean
from engine.messages import ToolCall, ToolResult
from engine.tools.base import Tool, ToolEnvironment
from engine.tools.results import error_result

_LOG = logging.getLogger(__name__)


class ToolDispatcher:
    """The tools of a bundle by name."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools = {tool.schema.name: tool for tool in tools}

    async def dispatch(self, call: ToolCall, environment: ToolEnvironment) -> ToolResult:
        """Run the tool that a call names; an unknown tool and every exception become error results."""
        tool = self._tools.get(call.name)
        if tool is None:
            hint = did_you_mean(call.name, self._tools)
            known = ", ".join(self._tools) or "none"
            message = f"there is no tool '{call.name}'" + (f"; {hint}" if hint else ".")
            return error_result(call, f"{message} The tools are: {known}.")
        try:
            return await tool.call(call, environment)
        except Exception as error:  # noqa: BLE001 - logged, and the model reads it
            _LOG.exception("the tool %s failed", call.name)
            return error_result(call, f"{call.name}: {type(error).__name__}: {error}")

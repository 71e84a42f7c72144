"""From a completion to a reply: what can be used of it, and what the model is told about the rest."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from engine.backends.base import Completion
from engine.diagnostics import did_you_mean
from engine.grammar.argument_check import check_arguments
from engine.kernel.results import Problem
from engine.messages import MalformedCall, Message, Reply, ToolCall, ToolSchema
from engine.models.base import ModelPlugin

_E = TypeVar("_E")


def read_reply(completion: Completion, plugin: ModelPlugin, tools: Sequence[ToolSchema]) -> Reply:
    """Parse a completion; one that was cut off is never read as a call, whatever it looks like."""
    if completion.finish_reason == "length":
        tokens = completion.usage.completion_tokens
        cut = MalformedCall(completion.text, f"the reply was cut off after {tokens} tokens")
        return Reply(completion.text, malformed=(cut,), usage=completion.usage)
    parsed = plugin.parse_response(completion.text, tools, completion.tool_calls)
    return replace(parsed, usage=completion.usage)


class Usable:
    """Tells the calls that a program can run from those that it cannot.

    Args:
        tools: The tools that were offered.
    """

    def __init__(self, tools: Sequence[ToolSchema]) -> None:
        self._tools = {tool.name: tool for tool in tools}

    def reply(self, reply: Reply) -> Reply:
        """Return the reply with the calls that cannot be run among the malformed ones."""
        checked = [self.event(call) for call in reply.tool_calls]
        good = tuple(call for call in checked if isinstance(call, ToolCall))
        bad = tuple(call for call in checked if isinstance(call, MalformedCall))
        return replace(reply, tool_calls=good, malformed=(*reply.malformed, *bad)) if bad else reply

    def event(self, event: _E) -> _E | MalformedCall:
        """Return a call that can be run and everything that is no call as it is."""
        if not isinstance(event, ToolCall):
            return event
        problem = self._problem(event)
        if problem is None:
            return event
        text = json.dumps({"name": event.name, "arguments": event.arguments}, ensure_ascii=False, default=str)
        return MalformedCall(text, problem)

    def _problem(self, call: ToolCall) -> str | None:
        tool = self._tools.get(call.name)
        if tool is None:
            hint = did_you_mean(call.name, self._tools)
            return f"there is no tool '{call.name}'" + (f"; {hint}" if hint else "")
        problem = check_arguments(tool.parameters, call.arguments)
        return None if problem is None else f"the arguments of '{call.name}' do not fit its schema: {problem}"


def problem_of(reply: Reply, finish_reason: str) -> Problem | None:
    """Return what keeps the reply from being a usable turn."""
    if finish_reason == "length":
        return "truncated"
    return "malformed_call" if reply.malformed and not reply.tool_calls else None


def complaint_about(reply: Reply, finish_reason: str) -> str | None:
    """Return what the model is told, so that its next prompt differs from the one that failed."""
    if finish_reason == "length":
        return f"Error: {reply.malformed[0].problem}, so nothing of it was used. Answer again, complete and shorter."
    if reply.malformed:
        problems = "; ".join(call.problem for call in reply.malformed)
        return f"Error: a tool call could not be read and was not run: {problems}. Write the call again, correctly."
    return None


def as_message(reply: Reply, finish_reason: str) -> Message:
    """Return the reply as a message of the history, its unreadable parts as the model wrote them."""
    parts = [] if finish_reason == "length" else [call.text for call in reply.malformed]
    content = "\n".join(part for part in (reply.text, *parts) if part) if parts else reply.text
    return Message("assistant", content, tool_calls=reply.tool_calls)

"""What a turn and a run of the loop give back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.messages import Message, Reply, ToolResult, Usage

TerminationReason = Literal[
    "termination_tool",
    "no_call",
    "no_tool_call",
    "max_turns",
    "truncated",
    "malformed_call",
    "limit_tokens",
    "limit_cost",
    "limit_tool_calls",
    "limit_seconds",
    "budget_tokens",
    "budget_cost",
    "budget_tool_calls",
    "server",
    "error",
    "cancelled",
]
Problem = Literal["truncated", "malformed_call"]
Termination = str | Callable[[ToolResult], bool]
ContextProvider = Callable[..., Awaitable[Mapping[str, Any] | None]]


@dataclass(frozen=True, slots=True)
class StepResult:
    """One turn.

    Attributes:
        message: The assistant's message, as it enters the history.
        reply: The reply, parsed.
        results: The results of its calls, in call order.
        usage: Its token counts.
        finish_reason: Why the server stopped: `stop`, `length` or `tool_calls`.
        problem: What keeps the reply from being a usable turn, if anything.
        complaint: What the model is told about its reply; None when all of it could be read.
        model: The model that answered.
        adapter: The adapter that answered, by name, or None.
    """

    message: Message
    reply: Reply
    results: tuple[ToolResult, ...]
    usage: Usage
    finish_reason: str
    problem: Problem | None = None
    complaint: str | None = None
    model: str = ""
    adapter: str | None = None

    @property
    def messages(self) -> list[Message]:
        """What the turn adds to the history."""
        added = [self.message]
        added += [Message("tool", one.content, tool_call_id=one.call_id, name=one.name) for one in self.results]
        return added if self.complaint is None else [*added, Message("user", self.complaint)]


@dataclass(frozen=True, slots=True)
class KernelResult:
    """One run of the loop.

    Attributes:
        text: The text of the last reply.
        tool_results: All results, in call order.
        history: The whole conversation, nothing trimmed.
        turn_count: How many turns were completed.
        termination_reason: Why it ended.
        usage: Token counts of all turns.
        final_tool_result: The result that ended it; None when something else did.
        error: What went wrong, in one line; None when nothing did.
        model: The model that answered last; empty when none did.
        adapter: The adapter that answered last, by name, or None.
        cost: What the tokens cost; None where a price is not declared.
    """

    text: str
    tool_results: tuple[ToolResult, ...]
    history: tuple[Message, ...]
    turn_count: int
    termination_reason: TerminationReason
    usage: Usage
    final_tool_result: ToolResult | None = None
    error: str | None = None
    model: str = ""
    adapter: str | None = None
    cost: float | None = None

    @property
    def finished(self) -> bool:
        """Whether it ended as it should."""
        return self.termination_reason in ("termination_tool", "no_call")

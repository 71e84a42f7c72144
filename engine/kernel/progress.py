"""How far a run has come, and whether it is over."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from engine.errors import BackendUnavailable, EngineError, LimitError
from engine.kernel.config import KernelConfig
from engine.kernel.limits import Budget
from engine.kernel.results import KernelResult, StepResult, Termination, TerminationReason
from engine.messages import Message, ToolResult

_log = logging.getLogger("engine.kernel")
_LIMITS: Mapping[str, TerminationReason] = {
    "tokens": "limit_tokens",
    "cost": "limit_cost",
    "tool_calls": "limit_tool_calls",
    "budget_tokens": "budget_tokens",
    "budget_cost": "budget_cost",
    "budget_tool_calls": "budget_tool_calls",
}


class Progress:
    """The conversation of one run, and its end once there is one.

    Args:
        config: The kernel's settings.
        messages: The system and user messages.
        termination: The tool whose success ends the run, or a test of each result.
        tools_count: How many tools the model is offered.
    """

    def __init__(
        self, config: KernelConfig, messages: Sequence[Message], termination: Termination | None, tools_count: int
    ) -> None:
        self.budget = Budget(config)
        self.turns = 0
        self.reason: TerminationReason | None = None
        self.error: str | None = None
        self._termination = termination
        self._text_is_an_end = config.on_no_call == "finish" or not tools_count
        self._head, self._tail = list(messages), list[Message]()
        self._results: list[ToolResult] = []
        self._final: ToolResult | None = None
        self._last: StepResult | None = None

    @property
    def messages(self) -> list[Message]:
        """The whole conversation."""
        return self._head + self._tail

    @property
    def last_tools(self) -> tuple[str, ...]:
        """The names of the tools that the last turn called."""
        return tuple(result.name for result in self._last.results) if self._last else ()

    def renew(self, prompt: Sequence[Message] | None) -> None:
        """Replace the system and user messages that the run began with."""
        if prompt is not None:
            self._head = list(prompt)

    def absorb(self, step: StepResult) -> None:
        """Take in a turn, and see whether it was the last."""
        self.turns += 1
        self._last = step
        self._tail += step.messages
        self._results += step.results
        self._final = next((result for result in step.results if self._ends(result)), None)
        if self._final is not None:
            self.reason = "termination_tool"
        elif self.budget.refused is not None:
            self.end(_LIMITS[self.budget.refused.kind], str(self.budget.refused))
        elif not step.reply.tool_calls and step.problem is None:
            self._end_with_text()

    def _ends(self, result: ToolResult) -> bool:
        if isinstance(self._termination, str):
            return result.name == self._termination and not result.is_error
        return self._termination is not None and self._termination(result)

    def _end_with_text(self) -> None:
        if self._text_is_an_end:
            self.reason = "no_call"
        else:
            self.end("no_tool_call", "the model answered with text where a tool call is required")

    def end(self, reason: TerminationReason, error: str) -> None:
        """End the run short of its goal."""
        self.reason, self.error = reason, error

    def out_of_turns(self, max_turns: int) -> None:
        """End the run after its last turn: for its reply, if that could not be used, else for the number of turns."""
        if self._last is not None and self._last.problem is not None:
            self.end(self._last.problem, f"the last reply could not be used: {self._last.reply.malformed[0].problem}")
            return
        goal = f" without a successful {self._termination}" if isinstance(self._termination, str) else ""
        turns = f"all {max_turns} turns are" if max_turns != 1 else "the only turn is"
        self.end("max_turns", f"{turns} used{goal}")

    def fail(self, error: Exception, *, out_of_time: bool) -> None:
        """End the run with an exception."""
        if out_of_time and self.budget.limits:
            self.end("limit_seconds", f"the limit of {self.budget.limits.seconds:g} seconds is used up")
        elif isinstance(error, LimitError):
            self.end(_LIMITS[error.kind], str(error))
        elif isinstance(error, BackendUnavailable):
            self.end("server", str(error))
        elif isinstance(error, EngineError):
            _log.debug("the run ended with an error", exc_info=error)
            self.end("error", str(error))
        else:
            _log.error("the run ended with an unexpected error", exc_info=error)
            self.end("error", f"{type(error).__name__}: {error}")

    def result(self) -> KernelResult:
        """Return what came of the run."""
        return KernelResult(
            text=self._last.reply.text if self._last else "",
            tool_results=tuple(self._results),
            history=tuple(self.messages),
            turn_count=self.turns,
            termination_reason=self.reason or "error",
            usage=self.budget.usage,
            final_tool_result=self._final,
            error=self.error,
            model=self._last.model if self._last else "",
            adapter=self._last.adapter if self._last else None,
            cost=self.budget.cost,
        )

    def facts(self) -> dict[str, Any]:
        """Return what the event of the end says."""
        return {"turn_count": self.turns, "termination_reason": self.reason or "error"}

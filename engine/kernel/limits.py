"""What a task has used up, and what is left of its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.backends.base import Backend
from engine.errors import LimitError
from engine.manifest.bundle_model import Sampling, TaskLimits
from engine.messages import Usage

_TOKENS_OF_A_TURN = 16  # at most what a chat template puts around one message


class Budget:
    """Counts tokens and tool calls of one run against its limits; without limits it only counts."""

    def __init__(self, limits: TaskLimits | None = None) -> None:
        self.limits = limits
        self.usage = Usage()
        self.calls = 0
        self._context = 0

    @property
    def seconds(self) -> float | None:
        """Time on the clock that a run may take."""
        return self.limits.seconds if self.limits else None

    async def reserve(self, sampling: Sampling, wire: Sequence[Mapping[str, Any]], backend: Backend) -> Sampling:
        """Return the sampling of the next request, its `max_tokens` lowered to what is left.

        Raises:
            LimitError: Nothing is left for a reply.
        """
        if self.limits is None:
            return sampling
        left = self.limits.tokens - self.usage.total_tokens
        # A token is at least one byte of text, so a short prompt needs no counting.
        if left - sum(_upper_bound(message) for message in wire) >= sampling.max_tokens:
            return sampling
        left -= await self._prompt_tokens(wire, backend)
        if left < 1:
            used, limit = self.usage.total_tokens, self.limits.tokens
            raise LimitError(f"{used} of {limit} tokens are used, too few are left for another turn", "tokens")
        return sampling if left >= sampling.max_tokens else sampling.model_copy(update={"max_tokens": left})

    async def _prompt_tokens(self, wire: Sequence[Mapping[str, Any]], backend: Backend) -> int:
        """Count the prompt where the backend can; else it is at least as long as the last one with its reply."""
        counted = await backend.count_tokens(wire)
        return self._context if counted is None else counted

    def spend(self, usage: Usage) -> None:
        """Count one completion."""
        self.usage += usage
        self._context = usage.total_tokens

    def take_calls(self, wanted: int) -> int:
        """Count the tool calls of a turn; return how many of them may run."""
        left = max(0, self.limits.tool_calls - self.calls) if self.limits else wanted
        self.calls += wanted
        return min(wanted, left)

    @property
    def calls_exceeded(self) -> bool:
        """Whether the model asked for more calls than it may."""
        return self.limits is not None and self.calls > self.limits.tool_calls


def _upper_bound(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    if not isinstance(content, str):
        return len(repr(message)) + _TOKENS_OF_A_TURN
    calls = message.get("tool_calls")
    size = len(content.encode("utf-8", "surrogatepass")) + (len(repr(calls).encode()) if calls else 0)
    return size + _TOKENS_OF_A_TURN

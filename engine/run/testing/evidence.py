"""What a trial leaves behind, gathered while it runs: events, and the failures of the backend."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from engine.backends import Backend, Completion, CompletionRequest
from engine.errors import ContextLengthError
from engine.events import ModelResponded, ToolCalled, ToolReturned
from engine.messages import ToolSchema
from engine.models import ModelPlugin
from engine.run.task import TaskResult
from engine.run.testing.matching import Call
from engine.run.testing.results import Evidence


class Recorder:
    """An observer that remembers the calls and the last reply of one task."""

    def __init__(self) -> None:
        self._calls: dict[tuple[int, str], ToolCalled] = {}
        self._answers: dict[tuple[int, str], str] = {}
        self._last: ModelResponded | None = None

    async def on_model_response(self, event: ModelResponded) -> None:
        """Keep the reply."""
        self._last = event

    async def on_tool_call(self, event: ToolCalled) -> None:
        """Keep the call."""
        self._calls[event.turn, event.call_id] = event

    async def on_tool_result(self, event: ToolReturned) -> None:
        """Keep the answer."""
        self._answers[event.turn, event.call_id] = event.content

    def evidence(self, result: TaskResult, plugin: ModelPlugin, tools: Sequence[ToolSchema]) -> Evidence:
        """Return all of it.

        Args:
            result: What came of the task.
            plugin: Reads the plain text out of the last reply.
            tools: The tools that were offered.
        """
        reply = self._last.text if self._last is not None else ""
        return Evidence(
            result.outcome,
            result.reason,
            result.error,
            tuple(Call(call.tool, call.arguments, self._answers.get(key)) for key, call in self._calls.items()),
            plugin.parse_response(reply, tools).text if reply else "",
            reply,
            tuple(result.changes) if result.outcome == "finished" else (),
            result.turns,
            result.usage,
            result.adapter,
            self._last.model if self._last is not None else "",
        )


class Watched:
    """A backend around another that remembers why it failed, for a task only tells in words.

    Args:
        backend: The other one.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.problem: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def as_backend(self) -> Backend:
        """Return this object under the type of what it stands for: all that it lacks comes from there."""
        return cast("Backend", self)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer as the other does."""
        try:
            return await self._backend.complete(request)
        except Exception as error:
            self._keep(error)
            raise

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer as the other does."""
        try:
            async for piece in self._backend.stream(request):
                yield piece
        except Exception as error:
            self._keep(error)
            raise

    def _keep(self, error: Exception) -> None:
        # A prompt that does not fit is the bundle's doing.
        if not isinstance(error, ContextLengthError):
            self.problem = error

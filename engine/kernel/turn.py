"""One turn: a request, its reply, and the tools that it calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.errors import LimitError
from engine.events import (
    Bus,
    ErrorOccurred,
    ModelRequested,
    ModelResponded,
    ReplyLost,
    ToolCalled,
    ToolReturned,
    TurnCompleted,
)
from engine.kernel.config import KernelConfig
from engine.kernel.limits import Budget
from engine.kernel.prompt import PromptBuilder
from engine.kernel.reading import as_message, complaint_about, problem_of, read_reply
from engine.kernel.results import StepResult
from engine.kernel.routing import Choice
from engine.messages import Message, ToolCall, ToolResult, ToolSchema, Usage
from engine.models.base import ModelPlugin
from engine.tools.base import ToolEnvironment
from engine.tools.dispatcher import ToolDispatcher

_KERNEL_KEYS = ("model_override", "adapter", "prompt")


@dataclass(frozen=True, slots=True)
class Parts:
    """What all turns of a kernel share."""

    config: KernelConfig
    plugin: ModelPlugin
    prompts: PromptBuilder
    bus: Bus
    backend: Backend


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn, ready to be taken.

    Attributes:
        parts: What all turns share.
        number: 1 for the first.
        tools: What the model is offered.
        dispatcher: Runs just these tools.
        environment: What the tools get.
        choice: The model and the adapter that are asked.
        budget: What is left.
    """

    parts: Parts
    number: int
    tools: Sequence[ToolSchema]
    dispatcher: ToolDispatcher
    environment: ToolEnvironment
    choice: Choice
    budget: Budget

    async def take(self, messages: Sequence[Message]) -> StepResult:
        """Ask the model, run its calls, and tell the observers."""
        completion = await self._ask(messages)
        reply = read_reply(completion, self.parts.plugin, self.tools)
        problem = problem_of(reply, completion.finish_reason)
        complaint = complaint_about(reply, completion.finish_reason)
        if complaint is not None:
            await self._emit(ErrorOccurred, error_type=problem or "malformed_call", message=complaint)
        results = await self._run(reply.tool_calls)
        errors = sum(result.is_error for result in results) + (complaint is not None)
        await self._emit(TurnCompleted, tool_calls_count=len(results), errors_count=errors)
        return StepResult(
            as_message(reply, completion.finish_reason),
            reply,
            results,
            completion.usage,
            completion.finish_reason,
            problem,
            complaint,
            completion.model,
            completion.adapter,
        )

    async def _ask(self, messages: Sequence[Message]) -> Completion:
        parts, model, adapter = self.parts, self.choice.model, self.choice.adapter
        wire = parts.prompts.wire(messages, self.tools)
        constraint = parts.prompts.constraint(self.tools, await parts.backend.kinds())
        self.choice.check(parts.backend)
        offered, tool_choice = parts.prompts.declared(self.tools, constraint)
        request = CompletionRequest(wire, model, constraint, parts.config.sampling, adapter, offered, tool_choice)
        async with await self.budget.hold(request, parts.backend, self._lost) as hold:
            await self._emit(
                ModelRequested,
                model=model,
                adapter=adapter.name if adapter else None,
                constraint=f"{constraint.strategy} {constraint.kind}",
                messages=tuple(wire),
                reserved=hold.most,
            )
            began = time.perf_counter()
            completion = await parts.backend.complete(hold.sent(request))
            self.budget.spend(hold, request, completion)
        await self._emit(
            ModelResponded,
            model=completion.model,
            adapter=completion.adapter,
            text=completion.text,
            tool_calls_count=len(completion.tool_calls),
            finish_reason=completion.finish_reason,
            usage=completion.usage,
            duration_ms=round((time.perf_counter() - began) * 1000, 3),
            cost=hold.amount(completion.usage),
        )
        return completion

    async def _lost(self, most: Usage, cost: float | None, reason: str) -> None:
        """Tell of a request that got no answer, and that the server may have charged all the same."""
        adapter = self.choice.adapter.name if self.choice.adapter else None
        await self._emit(ReplyLost, model=self.choice.model, adapter=adapter, usage=most, reason=reason, cost=cost)

    async def _run(self, calls: Sequence[ToolCall]) -> tuple[ToolResult, ...]:
        """Run the calls side by side; the results come in call order, those beyond the limit as errors."""
        allowed = await self.budget.take_calls(len(calls))
        if allowed <= 1:
            done = [await self._run_one(call) for call in calls[:allowed]]
        else:
            slots = asyncio.Semaphore(self.parts.config.max_concurrent_tools)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._wait_and_run(call, slots)) for call in calls[:allowed]]
            done = [task.result() for task in tasks]
        return (*done, *(_refused(call, self.budget.refused) for call in calls[allowed:]))

    async def _wait_and_run(self, call: ToolCall, slots: asyncio.Semaphore) -> ToolResult:
        async with slots:
            return await self._run_one(call)

    async def _run_one(self, call: ToolCall) -> ToolResult:
        await self._emit(ToolCalled, call_id=call.id, tool=call.name, arguments=call.arguments)
        began = time.perf_counter()
        result = await self.dispatcher.dispatch(call, self.environment)
        await self._emit(
            ToolReturned,
            call_id=call.id,
            tool=call.name,
            content=result.content,
            is_error=result.is_error,
            summary=result.summary,
            outcome=result.outcome,
            duration_ms=round((time.perf_counter() - began) * 1000, 3),
        )
        return result

    async def _emit(self, kind: Any, **facts: Any) -> None:
        config = self.parts.config
        await self.parts.bus.emit(kind(run_id=config.run_id, task_id=config.task_id, turn=self.number, **facts))


def with_context(environment: ToolEnvironment, context: Mapping[str, Any]) -> ToolEnvironment:
    """Return the environment with the context's values, but for those that the kernel reads, among the bound inputs."""
    extra = {name: value for name, value in context.items() if name not in _KERNEL_KEYS}
    return replace(environment, inputs={**environment.inputs, **extra}) if extra else environment


def _refused(call: ToolCall, why: LimitError | None) -> ToolResult:
    return ToolResult(call.id, call.name, f"not run: {why}", is_error=True, outcome="error")

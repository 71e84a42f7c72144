"""One task's stay on one worker, as the driver lives it: its events are told, its questions answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from engine.events import Bus, ErrorOccurred, Event, ModelRequested, ModelResponded, ReplyLost
from engine.kernel import Pool, Prices
from engine.kernel.prices import to_amount
from engine.run.executors.budget import Answer, BudgetDesk, Word
from engine.run.executors.pool import Seat
from engine.run.executors.wire import Order, OtherFile, Stopped
from engine.run.plan import Task
from engine.run.stage import Services
from engine.run.task import TaskResult

# Seconds for a task that is cancelled to say what it has to say.
_LAST_WORDS = 5.0


class Visit:
    """One try of a task on one worker; `begun` tells whether that has said anything of it.

    Args:
        seat: The worker.
        services: What the run has here.
        bus: Gets the task's events.
        run_id: The run.
        task: The task.
    """

    def __init__(self, seat: Seat, services: Services, bus: Bus, run_id: str, task: Task) -> None:
        self._seat, self._services, self._bus, self._run_id, self._task = seat, services, bus, run_id, task
        self._desk = BudgetDesk(services.budget, self._send) if services.budget is not None else None
        self._asked: ModelRequested | None = None
        self.begun = False

    async def run(self, order: Order) -> TaskResult:
        """Have the worker run the task; cancellation stops it there, and passes through.

        Raises:
            RayError: The worker was lost.
        """
        stream = self._seat.handle.run.options(num_returns="streaming").remote(order)
        try:
            result = await self._listen(stream)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_LAST_WORDS):
                    await self._seat.handle.cancel.remote(self._task.task_id)
                    await self._listen(stream)
            await self._forfeit("the run ended before the reply came")
            raise
        assert result is not None  # noqa: S101 - only a task that was cancelled has no result
        return result

    async def lost(self, why: str) -> None:
        """Log that the worker died; what its requests used is not known, so all that was reserved counts."""
        if self.begun:
            task_id = self._task.task_id
            await self._bus.emit(ErrorOccurred(run_id=self._run_id, task_id=task_id, error_type="lost", message=why))
        await self._forfeit(why)

    def close(self) -> None:
        """Answer no more questions."""
        if self._desk is not None:
            self._desk.close()

    async def _listen(self, stream: AsyncIterator[Any]) -> TaskResult | None:
        """Tell what comes, until the result; None where the task was cancelled."""
        async for reference in stream:
            said = await reference
            self.begun = True
            if isinstance(said, TaskResult):
                return replace(said, task=self._task)
            if isinstance(said, OtherFile):
                return TaskResult(self._task, "failed", "error", error=str(said))
            if isinstance(said, Stopped):
                return None
            for word in said:
                await self._hear(word)
        return None

    async def _hear(self, word: Event | Word) -> None:
        if not isinstance(word, Event):
            if self._desk is not None:
                self._desk.hear(word)
            return
        if isinstance(word, ModelRequested):
            self._asked = word
        elif isinstance(word, ModelResponded | ReplyLost):
            self._asked = None
        await self._bus.emit(word)

    async def _send(self, answer: Answer) -> None:
        await self._seat.handle.answer.remote(self._task.task_id, answer)

    async def _forfeit(self, why: str) -> None:
        asked, budget = self._asked, self._services.budget
        self.close()
        if isinstance(budget, Pool):
            budget.forfeit_all(self._task.task_id)
        if asked is None or not asked.reserved.total_tokens:
            return
        model = asked.model or await self._services.backend.model_name()
        rate = (self._services.prices or Prices({})).rate(model, asked.adapter)
        await self._bus.emit(
            ReplyLost(
                run_id=self._run_id,
                task_id=self._task.task_id,
                turn=asked.turn,
                model=asked.model,
                adapter=asked.adapter,
                usage=asked.reserved,
                reason=why,
                cost=None if rate is None else to_amount(rate.cost(asked.reserved)),
            )
        )

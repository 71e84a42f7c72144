"""The run's budget, as its tasks on workers see it: it stays with the driver, and is asked before each request.

Questions travel with a task's events, in order; answers come back by a call. So what is used and what is reserved never
exceed the limits together, however many machines there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from engine.errors import ConfigError, EngineError, LimitError
from engine.kernel.pool import Ask, Grant, SharedBudget
from engine.messages import Usage


@dataclass(frozen=True, slots=True)
class Wants:
    """A question: a reservation for a request, or how many tool calls may begin.

    Attributes:
        number: Tells it from the task's other questions.
        ask: What the request may use; None where tool calls are meant.
        wait: Whether to wait until it fits.
        calls: Tool calls that are about to begin.
    """

    number: int
    ask: Ask | None = None
    wait: bool = True
    calls: int = 0


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The question with this number is no longer asked; what was granted meanwhile is given back."""

    number: int


@dataclass(frozen=True, slots=True)
class Settled:
    """What a request used; None where that is not known, and all that was reserved counts."""

    grant: Grant
    usage: Usage | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the driver says to a question.

    Attributes:
        number: The question's.
        value: The grant, None, or the number of calls.
        error: Why not; empty where there is an answer.
        kind: The kind of the limit that refuses; empty for another error.
    """

    number: int
    value: Any = None
    error: str = ""
    kind: str = ""

    def result(self) -> Any:
        """Return the value, or raise what the driver's budget raised."""
        if self.kind:
            raise LimitError(self.error, self.kind)
        if self.error:
            raise ConfigError(self.error)
        return self.value


Word = Wants | Withdrawn | Settled
"""What a worker says about the budget."""


class RemoteBudget:
    """A task's view of the run's budget, on its worker.

    Args:
        say: Puts a word among the task's events.
    """

    def __init__(self, say: Callable[[Word], None]) -> None:
        self._say = say
        self._numbers = count(1)
        self._open: dict[int, asyncio.Future[Any]] = {}

    async def reserve(self, ask: Ask, *, wait: bool = True) -> Grant | None:
        """Reserve for a request; None where it does not fit as it is and `wait` is False.

        Raises:
            LimitError: It does not fit, and nothing in flight could free enough.
            ConfigError: The cost is limited, and a price is not declared.
        """
        granted: Grant | None = await self._ask(Wants(next(self._numbers), ask, wait))
        return granted

    def settle(self, grant: Grant, usage: Usage) -> None:
        """Put what a request used in the place of what was reserved for it."""
        self._say(Settled(grant, usage))

    def forfeit(self, grant: Grant) -> None:
        """Count all that was reserved for a request as used."""
        self._say(Settled(grant, None))

    async def take_calls(self, wanted: int) -> int:
        """Count tool calls that are about to begin; return how many of them may."""
        return int(await self._ask(Wants(next(self._numbers), calls=wanted)))

    def hear(self, answer: Answer) -> None:
        """Take the driver's answer."""
        waiting = self._open.pop(answer.number, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(answer)

    async def _ask(self, question: Wants) -> Any:
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._open[question.number] = waiting
        self._say(question)
        try:
            answer = await waiting
        except asyncio.CancelledError:
            self._say(Withdrawn(question.number))
            raise
        return answer.result()


class BudgetDesk:
    """Answers the questions of one task, where the budget is.

    Args:
        budget: The run's budget.
        send: Sends an answer to the task's worker.
    """

    def __init__(self, budget: SharedBudget, send: Callable[[Answer], Awaitable[object]]) -> None:
        self._budget, self._send = budget, send
        self._answering: dict[int, asyncio.Task[Any]] = {}

    def hear(self, word: Word) -> None:
        """Take a worker's word."""
        if isinstance(word, Wants):
            self._answering[word.number] = asyncio.create_task(self._answer(word))
        elif isinstance(word, Withdrawn):
            self._withdraw(self._answering.pop(word.number))
        elif word.usage is None:
            self._budget.forfeit(word.grant)
        else:
            self._budget.settle(word.grant, word.usage)

    def close(self) -> None:
        """Answer no more."""
        for task in self._answering.values():
            task.cancel()

    def _withdraw(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        task.add_done_callback(self._give_back)

    def _give_back(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and task.exception() is None and isinstance(task.result(), Grant):
            self._budget.settle(task.result(), Usage())

    async def _answer(self, question: Wants) -> Any:
        value: Any = None
        try:
            if question.ask is None:
                value = await self._budget.take_calls(question.calls)
            else:
                value = await self._budget.reserve(question.ask, wait=question.wait)
        except LimitError as error:
            answer = Answer(question.number, error=str(error), kind=error.kind)
        except EngineError as error:
            answer = Answer(question.number, error=str(error))
        else:
            answer = Answer(question.number, value)
        # Not to be cut off by a withdrawal: what was granted is the task's result then, and given back.
        sending = asyncio.ensure_future(self._send(answer))
        sending.add_done_callback(lambda done: done.cancelled() or done.exception())
        return value

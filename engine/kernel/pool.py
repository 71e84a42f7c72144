"""What several tasks may use together: reserved before each request, settled by what it used, never overshot."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

from engine.backends.pacing.clock import clock_stopped
from engine.errors import ConfigError, LimitError
from engine.kernel.prices import Rate, to_amount
from engine.messages import Usage

_WORDS = {"tokens": "tokens", "cost": "of cost", "tool_calls": "tool calls"}


@dataclass(frozen=True, slots=True)
class Spent:
    """What is used or held.

    Attributes:
        tokens: Prompt and completion tokens.
        cost: What they cost, in parts of the currency; see `engine.kernel.prices`.
        tool_calls: Tool calls that were begun.
    """

    tokens: int = 0
    cost: int = 0
    tool_calls: int = 0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.tokens + other.tokens, self.cost + other.cost, self.tool_calls + other.tool_calls)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.tokens - other.tokens, self.cost - other.cost, self.tool_calls - other.tool_calls)


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What may be used at most; None sets no limit. The cost is in parts of the currency."""

    tokens: int | None = None
    cost: int | None = None
    tool_calls: int | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What one request may use at most.

    Attributes:
        prompt: Prompt tokens, at most.
        reply: Tokens that the reply should be given.
        least: The fewest tokens for the reply that make the request worth sending.
        rate: What its tokens cost; None where no price is declared.
        owner: Who asks, so that all that it holds can be forfeited with it.
    """

    prompt: int
    reply: int
    least: int = 1
    rate: Rate | None = None
    owner: str = ""

    def most(self, reply: int) -> Spent:
        """Return what the request uses at most with a reply of this length."""
        cost = self.prompt * self.rate.dearest_prompt + reply * self.rate.completion if self.rate else 0
        return Spent(self.prompt + reply, cost)


@dataclass(frozen=True, slots=True)
class Grant:
    """What was reserved: its number in the pool, and the tokens that the reply may have."""

    number: int
    reply: int


class SharedBudget(Protocol):
    """A budget that several tasks share; all that it takes and gives are plain values, so it may be far away."""

    async def reserve(self, ask: Ask, *, wait: bool = True) -> Grant | None:
        """Reserve for a request; None where it does not fit as it is and `wait` is False.

        Raises:
            LimitError: It does not fit, and nothing in flight could free enough.
        """
        ...

    def settle(self, grant: Grant, usage: Usage) -> None:
        """Put what a request used in the place of what was reserved for it; no tokens where it was not charged."""
        ...

    def forfeit(self, grant: Grant) -> None:
        """Count all that was reserved for a request as used: what it used is not known."""
        ...

    async def take_calls(self, wanted: int) -> int:
        """Count tool calls that are about to begin; return how many of them may."""
        ...


@dataclass(frozen=True, slots=True)
class _Held:
    """A reservation: who made it, what it is, and what its tokens cost."""

    owner: str
    most: Spent
    rate: Rate | None


class Pool:
    """The budget of a run, in the process that holds it.

    What is used and what is held never exceed the ceiling together, as long as no request uses more than was reserved
    for it. Requests are served in the order in which they came. One that does not fit waits while others hold
    reservations that could free enough; once nobody holds any, its reply is given what is left.

    Args:
        ceiling: The limits.
        used: What was used before.
        whose: Whose budget it is, for messages; the kinds of a run's errors begin with `budget_`.
    """

    def __init__(
        self, ceiling: Ceiling | None = None, used: Spent | None = None, whose: Literal["run", "task"] = "run"
    ) -> None:
        self.ceiling, self.used, self._whose = ceiling or Ceiling(), used or Spent(), whose
        self.reserved = Spent()
        self.exhausted: LimitError | None = None
        self._held: dict[int, _Held] = {}
        self._numbers = 0
        self._line, self._freed = asyncio.Lock(), asyncio.Event()

    def count(self, spent: Spent) -> None:
        """Add what was used before, or elsewhere."""
        self.used += spent

    async def reserve(self, ask: Ask, *, wait: bool = True) -> Grant | None:
        """Reserve for a request; None where it does not fit as it is and `wait` is False.

        Raises:
            LimitError: It does not fit, and nothing in flight could free enough; `kind` is budget_tokens or
                budget_cost.
            ConfigError: The cost is limited, and the price of what is asked for is not declared.
        """
        if self.ceiling.cost is not None and ask.rate is None:
            raise ConfigError("the cost is limited, and engine.yaml declares no price for the model that is asked")
        if not self._line.locked() and self._fits(ask):
            return self._grant(ask, ask.reply)
        if not wait:
            return None
        # Waiting for others is none of the task's own time.
        with clock_stopped():
            return await self._in_line(ask)

    async def _in_line(self, ask: Ask) -> Grant:
        async with self._line:
            while True:
                longest = self._longest(ask)
                if self._fits(ask):
                    return self._grant(ask, ask.reply)
                if not self._held:
                    return self._grant(ask, min(ask.reply, longest))
                self._freed.clear()
                await self._freed.wait()

    def settle(self, grant: Grant, usage: Usage) -> None:
        """Put what a request used in the place of what was reserved for it; no tokens where it was not charged."""
        held = self._held.pop(grant.number)
        self._free(held, Spent(usage.total_tokens, held.rate.cost(usage) if held.rate else 0))

    def forfeit(self, grant: Grant) -> None:
        """Count all that was reserved for a request as used: what it used is not known."""
        held = self._held.pop(grant.number)
        self._free(held, held.most)

    def forfeit_all(self, owner: str) -> None:
        """Count all that an owner holds as used: it is gone, and what its requests used is not known."""
        for number in [number for number, held in self._held.items() if held.owner == owner]:
            self.forfeit(Grant(number, 0))

    async def take_calls(self, wanted: int) -> int:
        """Count tool calls that are about to begin; return how many of them may."""
        limit = self.ceiling.tool_calls
        allowed = wanted if limit is None else max(0, min(wanted, limit - self.used.tool_calls))
        self.used += Spent(tool_calls=allowed)
        if allowed < wanted:
            self._refuse("tool_calls")
        return allowed

    def _fits(self, ask: Ask) -> bool:
        most = self.used + self.reserved + ask.most(ask.reply)
        tokens, cost = self.ceiling.tokens, self.ceiling.cost
        return (tokens is None or most.tokens <= tokens) and (cost is None or most.cost <= cost)

    def _longest(self, ask: Ask) -> int:
        """Return how long the reply could be if all that is held were freed.

        Raises:
            LimitError: Not long enough.
        """
        longest, least = ask.reply, ask.most(ask.least)
        if self.ceiling.tokens is not None:
            left = self.ceiling.tokens - self.used.tokens
            if least.tokens > left:
                raise self._refuse("tokens")
            longest = min(longest, left - ask.prompt)
        if self.ceiling.cost is not None:
            left = self.ceiling.cost - self.used.cost
            if least.cost > left:
                raise self._refuse("cost")
            if ask.rate is not None and ask.rate.completion:
                longest = min(longest, (left - ask.most(0).cost) // ask.rate.completion)
        return longest

    def _grant(self, ask: Ask, reply: int) -> Grant:
        self._numbers += 1
        held = _Held(ask.owner, ask.most(reply), ask.rate)
        self._held[self._numbers] = held
        self.reserved += held.most
        return Grant(self._numbers, reply)

    def _free(self, held: _Held, spent: Spent) -> None:
        self.reserved -= held.most
        self.used += spent
        self._freed.set()

    def _refuse(self, kind: str) -> LimitError:
        """Return the error of a limit that is used up, and remember it: no further task need start."""
        text = f"{self.describe(kind)}, too few are left for another turn"
        self.exhausted = LimitError(text, f"budget_{kind}" if self._whose == "run" else kind)
        return self.exhausted

    def describe(self, kind: str) -> str:
        """Say how much of one of the limits is used: tokens, cost or tool_calls."""
        used, limit = getattr(self.used, kind), getattr(self.ceiling, kind)
        if kind == "cost":
            used, limit = f"{to_amount(used):.6g}", f"{to_amount(limit):g}"
        whose = "the run's " if self._whose == "run" else ""
        return f"{used} of {whose}{limit} {_WORDS[kind]} are used"

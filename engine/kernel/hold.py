"""What one request holds of the limits until its reply says what it used."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from engine.backends.base import CompletionRequest
from engine.errors import BackendError, EngineError
from engine.kernel.pool import Ask, Grant, SharedBudget
from engine.kernel.prices import to_amount
from engine.messages import Usage

Lost = Callable[[Usage, float | None, str], Awaitable[None]]
"""Hears of a request that the server may have charged without an answer: its tokens, at most, their cost, and why."""


class Hold:
    """A request with what is reserved for it; leaving the context gives back or charges what was not settled.

    Args:
        pools: Where it is reserved.
        ask: What it may use.
        lost: Hears of each attempt that got no answer and may have been charged.
    """

    def __init__(self, pools: Sequence[SharedBudget], ask: Ask, lost: Lost) -> None:
        self._pools, self._lost = pools, lost
        self._ask, self._grants = ask, list[tuple[SharedBudget, Grant]]()
        self._sent = False

    @property
    def reply(self) -> int:
        """The tokens that the reply may have."""
        return self._ask.reply

    def cost(self, usage: Usage) -> int | None:
        """Return what tokens of this request cost, in parts; None where the price is not declared."""
        return None if self._ask.rate is None else self._ask.rate.cost(usage)

    def amount(self, usage: Usage) -> float | None:
        """Return what tokens of this request cost; None where the price is not declared."""
        cost = self.cost(usage)
        return None if cost is None else to_amount(cost)

    @property
    def most(self) -> Usage:
        """What is reserved: the tokens that the request uses at most; none where nothing is limited."""
        return Usage(self._ask.prompt, self._ask.reply) if self._pools else Usage()

    async def reserve(self, ask: Ask, *, wait: bool) -> bool:
        """Reserve in every pool, the reply as long as all allow; False where it does not fit without waiting.

        Raises:
            LimitError: It does not fit.
        """
        try:
            for pool in self._pools:
                grant = await pool.reserve(ask, wait=wait)
                if grant is None:
                    self._give_back()
                    return False
                self._grants.append((pool, grant))
                ask = replace(ask, reply=grant.reply)
        except BaseException:
            self._give_back()
            raise
        self._ask = ask
        return True

    def sent(self, request: CompletionRequest) -> CompletionRequest:
        """Return the request as it is sent from now on: its reply as long as was granted, and paid per attempt."""
        self._sent = True
        if not self._pools:
            return request
        sampling = request.sampling
        if sampling.max_tokens != self.reply:
            sampling = sampling.model_copy(update={"max_tokens": self.reply})
        return replace(request, sampling=sampling, meter=self)

    async def again(self, reason: str) -> None:
        """Pay for an attempt that got no answer, and reserve for another one.

        Raises:
            LimitError: Another one does not fit.
        """
        await self._forfeit(reason)
        await self.reserve(replace(self._ask, least=self._ask.reply), wait=True)

    def settle(self, usage: Usage) -> None:
        """Put what the reply used in the place of what was reserved; all of it, where the server does not say."""
        for pool, grant in self._taken():
            if usage.total_tokens:
                pool.settle(grant, usage)
            else:
                pool.forfeit(grant)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._sent and error is not None and may_be_charged(error):
            await self._forfeit(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
        self._give_back()

    async def _forfeit(self, reason: str) -> None:
        taken = self._taken()
        for pool, grant in taken:
            pool.forfeit(grant)
        if taken:
            await self._lost(self.most, self.amount(self.most), reason)

    def _give_back(self) -> None:
        for pool, grant in self._taken():
            pool.settle(grant, Usage())

    def _taken(self) -> list[tuple[SharedBudget, Grant]]:
        taken, self._grants = self._grants, []
        return taken


def may_be_charged(error: BaseException) -> bool:
    """Whether a server may have charged for a request that ended with an error: as long as it is not known better."""
    return error.charged if isinstance(error, BackendError) else not isinstance(error, EngineError)

"""What a task has used up, and what is left of its limits and of the budget that it shares."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.errors import LimitError
from engine.kernel.bounds import PromptBound
from engine.kernel.config import KernelConfig
from engine.kernel.hold import Hold, Lost
from engine.kernel.pool import Ask, Ceiling, Pool, SharedBudget
from engine.kernel.prices import Prices, Rate, to_amount, to_parts
from engine.manifest.bundle_model import TaskLimits
from engine.messages import Usage

if TYPE_CHECKING:
    from engine.manifest.engine_model import BudgetSpec

_NO_PRICES = Prices({})


class Budget:
    """Counts tokens, cost and tool calls of one run of the loop, and keeps them within the limits.

    Args:
        config: Has the run's own limits, the budget that it shares, and the prices; without them it only counts.
        alone: For a turn that belongs to no run, and so has no limits of its own.
    """

    def __init__(self, config: KernelConfig, *, alone: bool = False) -> None:
        self.limits = None if alone else config.limits
        self.usage = Usage()
        self.refused: LimitError | None = None
        self._owner, self._prices = config.task_id, config.prices or _NO_PRICES
        own = Pool(ceiling(self.limits), whose="task") if self.limits else None
        self._own = own
        self._pools: list[SharedBudget] = [pool for pool in (own, config.budget) if pool is not None]
        self._cost: int | None = 0 if self._prices else None
        self._bound = PromptBound()

    @property
    def seconds(self) -> float | None:
        """Time on the clock that a run may take."""
        return self.limits.seconds if self.limits else None

    @property
    def cost(self) -> float | None:
        """What the tokens cost; None where a price is not declared."""
        return None if self._cost is None else to_amount(self._cost)

    async def hold(self, request: CompletionRequest, backend: Backend, lost: Lost) -> Hold:
        """Reserve for a request, the reply as long as the limits allow.

        Args:
            request: What is going to be sent.
            backend: Where it is sent.
            lost: Hears of each attempt that got no answer and may have been charged.

        Raises:
            LimitError: Nothing is left for a reply.
            ConfigError: A limit is set on the cost, and what the request costs is not declared.
        """
        ask = Ask(0, request.sampling.max_tokens, rate=await self._rate(request, backend), owner=self._owner)
        hold = Hold(self._pools, ask, lost)
        if not self._pools:
            return hold
        # The bound needs no request to the server; where that is too much, the prompt is counted.
        ask = replace(ask, prompt=self._bound.of(request))
        if not await hold.reserve(ask, wait=False):
            ask = replace(ask, prompt=await self._bound.counted(request, backend))
            await hold.reserve(ask, wait=True)
        return hold

    async def _rate(self, request: CompletionRequest, backend: Backend) -> Rate | None:
        if not self._prices:
            return None
        adapter = request.adapter
        name = adapter.name if adapter is not None and backend.accepts(adapter) else None
        return self._prices.rate(request.model or await backend.model_name(), name)

    def spend(self, hold: Hold, request: CompletionRequest, completion: Completion) -> None:
        """Count one completion in the place of what was held for it."""
        usage = completion.usage
        hold.settle(usage)
        self.usage += usage
        self._bound.learn(request, usage)
        cost = hold.cost(usage)
        self._cost = None if self._cost is None or cost is None else self._cost + cost

    async def take_calls(self, wanted: int) -> int:
        """Count the tool calls of a turn; return how many of them may run."""
        allowed = wanted
        for pool in self._pools if wanted else ():
            asked, allowed = allowed, await pool.take_calls(allowed)
            if allowed < asked:
                self.refused = self._refusal(pool)
        return allowed

    def _refusal(self, pool: SharedBudget) -> LimitError:
        if pool is self._own and self.limits is not None:
            what, kind = f"limit of {self.limits.tool_calls} tool calls", "tool_calls"
        else:
            what, kind = "run's budget of tool calls", "budget_tool_calls"
        return LimitError(f"the {what} is used up, and the model asked for more", kind)


def ceiling(limits: TaskLimits | BudgetSpec) -> Ceiling:
    """Return limits as a pool takes them."""
    cost = None if limits.cost is None else to_parts(limits.cost)
    return Ceiling(limits.tokens, cost, limits.tool_calls)

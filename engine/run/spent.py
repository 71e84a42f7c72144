"""What a run has used so far, read from its events: so that its budget is the run's, and not the process's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.events import ReplyLost
from engine.kernel.pool import Pool, Spent
from engine.kernel.prices import Prices, to_amount
from engine.messages import Usage
from engine.run.budget import check_prices

if TYPE_CHECKING:
    from engine.events import Bus, EventLog, LogReader, Used
    from engine.run.plan import Assignment
    from engine.run.stage import Services


@dataclass(slots=True)
class Account:
    """What a run costs and has used, from part to part of it.

    Attributes:
        services: Have the budget and the prices.
    """

    services: Services

    def check(self, assignments: Sequence[Assignment], model: str) -> None:
        """See that all that may answer has a price, where the cost is limited.

        Args:
            assignments: What runs.
            model: The backend's default model.

        Raises:
            ConfigError: A price is missing.
        """
        budget = self.services.budget
        limited = isinstance(budget, Pool) and budget.ceiling.cost is not None
        check_prices(assignments, model, self.services.prices or Prices({}), limited=limited)

    async def go_on(self, bus: Bus, log: EventLog, run_id: str) -> None:
        """Count what was used before; what was under way when the process ended counts as used, and the log says so."""
        budget, prices = self.services.budget, self.services.prices
        if budget is None and prices is None:
            return
        log.flush()
        model = await self.services.backend.model_name()
        for lost in lost_replies(log, run_id, prices or Prices({}), model):
            await bus.emit(lost)
        if isinstance(budget, Pool):
            used = log.used(run_id)
            budget.count(Spent(used.charged_tokens, used.charged_parts, used.tool_calls))

    def cost(self, used: Used) -> float | None:
        """Return what the run costs so far; None where the price of a reply is not declared."""
        return None if self.services.prices is None else used.cost


def lost_replies(log: LogReader, run_id: str, prices: Prices, model: str) -> Iterator[ReplyLost]:
    """Return an event for each request that was under way when the process of a run ended.

    The server may have charged for it: all that was reserved for it counts as used.

    Args:
        log: The event log.
        run_id: The run.
        prices: What tokens cost.
        model: The backend's default model.
    """
    for task_id, turn, asked, adapter, prompt, completion in log.unanswered(run_id):
        rate, usage = prices.rate(asked or model, adapter), Usage(prompt, completion)
        yield ReplyLost(
            run_id=run_id,
            task_id=task_id,
            turn=turn,
            model=asked,
            adapter=adapter,
            usage=usage,
            reason="the engine ended before the reply came",
            cost=None if rate is None else to_amount(rate.cost(usage)),
        )

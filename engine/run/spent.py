"""What a run has used so far, read from its events: so that its budget is the run's, and not the process's."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from engine.events import ReplyLost
from engine.kernel.pool import Spent
from engine.kernel.prices import Prices, to_amount, to_parts
from engine.messages import Usage

if TYPE_CHECKING:
    from engine.events import LogReader


def spent_before(log: LogReader, run_id: str) -> Spent:
    """Return what the requests and tool calls of a run have used, as far as the log knows."""
    tokens, cost, calls = log.used(run_id)
    return Spent(tokens, to_parts(float(Decimal(repr(cost)))), calls)


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

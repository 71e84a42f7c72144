"""What all tasks of a run may use together: read from what was asked for, checked, and gone on with from the log."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from engine.diagnostics import did_you_mean
from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.kernel import Pool, Prices
    from engine.manifest import EngineConfig
    from engine.run.plan import Assignment
    from engine.run.resume import Resumed

KINDS = ("tokens", "seconds", "tool_calls", "cost")
_WHOLE = ("tokens", "tool_calls")


def parse_budget(pairs: Iterable[str]) -> dict[str, float]:
    """Return `kind=amount` pairs as a budget.

    Raises:
        ConfigError: There is no such limit, or its amount is none.
    """
    budget: dict[str, float] = {}
    for pair in pairs:
        kind, equals, text = pair.partition("=")
        kind = kind.strip().replace("-", "_")
        if kind not in KINDS:
            hint = did_you_mean(kind, KINDS) or f"there are {', '.join(KINDS)}"
            raise ConfigError(f"--budget '{pair}': there is no such limit; {hint}")
        if not equals:
            raise ConfigError(f"--budget '{pair}' has no amount: write it as tokens=200000")
        budget[kind] = _amount(kind, text.strip())
    return check_budget(budget)


def check_budget(budget: Mapping[str, float]) -> dict[str, float]:
    """Return a budget that makes sense.

    Raises:
        ConfigError: There is no such limit, or its amount is none.
    """
    for kind, amount in budget.items():
        if kind not in KINDS:
            raise ConfigError(f"a run has no budget of {kind}: there are {', '.join(KINDS)}")
        if not 0 < amount < float("inf") or (kind in _WHOLE and amount != int(amount)):
            number = "a whole number from 1" if kind in _WHOLE else "a number above 0"
            raise ConfigError(f"the budget of {kind} is {amount:g}: give {number}")
    return {kind: int(amount) if kind in _WHOLE else amount for kind, amount in budget.items()}


def _amount(kind: str, text: str) -> float:
    try:
        return float(text.replace("_", ""))
    except ValueError:
        raise ConfigError(f"--budget {kind}={text}: the amount is no number, such as 200000 or 1.5") from None


def run_pool(config: EngineConfig, asked: Mapping[str, float]) -> Pool | None:
    """Return the budget of a run; None where nothing is limited.

    Args:
        config: Has the budget of engine.yaml.
        asked: What was asked for; each limit replaces that of engine.yaml.

    Raises:
        ConfigError: What was asked for makes no sense.
    """
    from engine.kernel import Ceiling, Pool
    from engine.kernel.limits import ceiling
    from engine.manifest.engine_model import BudgetSpec

    wanted = {kind: amount for kind, amount in check_budget(asked).items() if kind != "seconds"}
    spec = BudgetSpec.model_validate(config.run.budget.model_dump() | wanted)
    limits = ceiling(spec)
    return Pool(limits) if limits != Ceiling() else None


def seconds_left(seconds: float, asked: Mapping[str, float], resumed: Resumed | None) -> float:
    """Return how long this part of a run may take: where its seconds were asked for, they are those of all parts.

    Args:
        seconds: Upper bound of the run.
        asked: The budget that was asked for.
        resumed: The run that is gone on with.

    Raises:
        ConfigError: Nothing is left.
    """
    if resumed is None or "seconds" not in asked:
        return seconds
    left = seconds - resumed.past.earlier.seconds
    if left <= 0:
        raise ConfigError(f"the run's {seconds:g} seconds are used up: give it more with --budget seconds=…")
    return left


def check_prices(assignments: Iterable[Assignment], model: str, prices: Prices, *, limited: bool) -> None:
    """See that all that may answer has a price, where the cost is limited.

    Args:
        assignments: What runs.
        model: The backend's default model.
        prices: The declared prices.
        limited: Whether the cost of the run is limited.

    Raises:
        ConfigError: A price is missing; the message names the model and the way out.
    """
    for one in assignments:
        if not limited and one.bundle.manifest.limits.cost is None:
            continue
        bare = one.model or model
        if prices.rate(bare) is None and (one.adapter is None or _unpriced(one, prices)):
            whose = "run" if limited else f"bundle '{one.bundle.name}'"
            raise ConfigError(
                f"the cost of the {whose} is limited, and there is no price for the model {bare!r}: declare it in "
                f"engine.yaml (prices: {{{bare}: {{prompt: …, completion: …}}}}), or limit tokens instead"
            )


def _unpriced(one: Assignment, prices: Prices) -> bool:
    """Whether an adapter that may answer has no price of its own."""
    names = {one.adapter, *(rule.adapter for rule in one.bundle.manifest.routing)}
    return any(name is None or prices.rate(None, name) is None for name in names)

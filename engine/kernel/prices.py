"""What tokens cost: the declared prices, in whole numbers, so that sums are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from engine.messages import Usage

if TYPE_CHECKING:
    from engine.manifest.engine_model import Price

_PARTS = 10**12
"""Into how many parts one unit of the currency is divided: a millionth of what a million tokens can cost."""


def to_parts(amount: float) -> int:
    """Return an amount of the currency in whole parts, rounded down."""
    return int((Decimal(str(amount)) * _PARTS).to_integral_value(ROUND_FLOOR))


def to_amount(parts: int) -> float:
    """Return parts as an amount of the currency."""
    return parts / _PARTS


@dataclass(frozen=True, slots=True)
class Rate:
    """What one token costs, in parts.

    Attributes:
        prompt: A prompt token.
        completion: A completion token.
        cached: A prompt token that the server had cached.
    """

    prompt: int
    completion: int
    cached: int

    @classmethod
    def of(cls, price: Price) -> Rate:
        """Return the rate of a declared price, rounded up to a whole part."""
        cached = price.prompt if price.cached is None else price.cached
        return cls(_per_token(price.prompt), _per_token(price.completion), _per_token(cached))

    def cost(self, usage: Usage) -> int:
        """Return what tokens cost, in parts."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        fresh = usage.prompt_tokens - cached
        return fresh * self.prompt + cached * self.cached + usage.completion_tokens * self.completion

    @property
    def dearest_prompt(self) -> int:
        """What a prompt token costs at most."""
        return max(self.prompt, self.cached)


class Prices:
    """The declared prices.

    Args:
        declared: The price of a million tokens, by the name of the model or adapter that answers.
    """

    def __init__(self, declared: Mapping[str, Price]) -> None:
        self._rates = {name: Rate.of(price) for name, price in declared.items()}

    def rate(self, model: str | None, adapter: str | None = None) -> Rate | None:
        """Return what an answer costs: that of the adapter, else that of the model; None where neither is declared."""
        found = self._rates.get(adapter) if adapter is not None else None
        return found if found is not None or model is None else self._rates.get(model)

    def __bool__(self) -> bool:
        return bool(self._rates)


def _per_token(price: float) -> int:
    return int((Decimal(str(price)) * (_PARTS // 10**6)).to_integral_value(ROUND_CEILING))

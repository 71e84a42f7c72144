"""Prices and discounts."""

import math
import os
from typing import Optional

VAT = 0.19


def net_price(price, quantity=1):
    if quantity < 0:
        raise ValueError("quantity is negative")
    return price * quantity


def gross_price(price: float, rate: float = VAT) -> float:
    return round(price * (1 + rate), 2)


def discount(price: float, percent: float) -> float:
    if not 0 <= percent <= 100:
        raise ValueError("percent is not between 0 and 100")
    return round(price * (100 - percent) / 100, 2)


def round_to_cash(amount: float, step: float = 0.05) -> float: return round(round(amount / step) * step, 2)


def cheapest(prices: dict[str, float], limit: Optional[float] = None) -> Optional[str]:
    affordable = {name: price for name, price in prices.items() if limit is None or price <= limit}
    if not affordable:
        return None
    return min(affordable, key=affordable.get)

"""Text for the customer."""

import json


def format_price(amount: float, currency: str = "EUR") -> str:
    return f"{amount:,.2f} {currency}"


def receipt_line(name: str, quantity: int, price: float, width: int = 40) -> str:
    # the price stands at the right margin
    label = f"{quantity} x {name}"
    cost = format_price(quantity * price)
    return label.ljust(width - len(cost)) + cost


def parse_order(text: str) -> dict[str, int]:
    order = {}
    for line in text.splitlines():
        name, _, quantity = line.partition(":")
        if name.strip():
            order[name.strip().lower()] = int(quantity or 1)
    return order

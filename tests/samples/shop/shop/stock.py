"""What is on the shelves."""

from dataclasses import dataclass, field
from collections import Counter


@dataclass
class Stock:
    """Numbers of articles by name."""

    articles: Counter = field(default_factory=Counter)

    def add(self, name: str, quantity: int = 1) -> None:
        if quantity <= 0:
            raise ValueError("quantity must be positive")
        self.articles[name] += quantity

    def remove(self, name: str, quantity: int = 1) -> None:
        if self.articles[name] < quantity:
            raise KeyError(f"not enough {name} in stock")
        self.articles[name] -= quantity

    def is_empty(self) -> bool:
        return not any(self.articles.values())

    def below(self, minimum: int) -> list[str]:
        return sorted(name for name, count in self.articles.items() if count < minimum)

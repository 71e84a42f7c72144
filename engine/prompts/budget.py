"""What a template may use up: work, characters and time; and how much a value weighs.

Templates are untrusted. Every loop iteration, call, filter and text that is built is charged to the budget of the
render, so that no template can hang or fill the memory. Only plain data has a weight: anything else can neither be
printed nor nested.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import Undefined

MAX_TEXT = 4 * 1024 * 1024
MAX_ITEMS = 500_000
MAX_DEPTH = 64
MAX_BITS = 65536
STEP = 50
CALL = 20


@dataclass(frozen=True, slots=True)
class RenderLimits:
    """Limits of one render.

    Attributes:
        work: Units: 50 for an iteration, 20 for a call or filter, 1 for an element or 8 characters that are built.
        output: Characters of the result.
        seconds: Time on the clock.
    """

    work: int = 10_000_000
    output: int = MAX_TEXT
    seconds: float = 2.0


class BudgetError(Exception):
    """A template used more than it may."""


class Budget:
    """What is left of one render."""

    __slots__ = ("_deadline", "_limits", "_work")

    def __init__(self, limits: RenderLimits) -> None:
        self._limits = limits
        self._work = limits.work
        self._deadline = time.monotonic() + limits.seconds

    def spend(self, work: int) -> None:
        """Charge work.

        Raises:
            BudgetError: The work or the time is used up.
        """
        self._work -= work
        if self._work < 0:
            raise BudgetError("the template does more work than allowed (loops, calls or text)")
        if time.monotonic() > self._deadline:
            raise BudgetError(f"the template runs longer than {self._limits.seconds:g} s")


CURRENT: ContextVar[Budget] = ContextVar("prompt_budget")


def spend(work: int) -> None:
    """Charge work to the render that is going on."""
    CURRENT.get().spend(work)


def check_length(length: int) -> None:
    """Refuse a text or list before it is built.

    Raises:
        BudgetError: It would be longer than 4 Mi.
    """
    if length > MAX_TEXT:
        raise BudgetError(f"a value would have {length} characters or items, more than {MAX_TEXT}")


def weigh(value: Any) -> int:
    """Return the number of elements and characters in plain data, nested ones counted wherever they appear.

    Raises:
        BudgetError: It is too heavy or nested too deeply.
        TypeError: It is, or contains, something that is not plain data.
    """
    weight = items = 0
    stack = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        items += 1
        weight += 1
        if isinstance(item, str):
            weight += len(item)
        elif isinstance(item, (list, tuple, dict)):
            weight += len(item)
            if items + len(stack) + len(item) > MAX_ITEMS:
                raise BudgetError(f"a value has more than {MAX_ITEMS} items")
            if depth >= MAX_DEPTH:
                raise BudgetError(f"a value is nested more than {MAX_DEPTH} levels deep")
            stack.extend((child, depth + 1) for child in _children(item))
        else:
            weight += _leaf(item)
        check_length(weight)
    return weight


def _children(value: Any) -> Any:
    return [*value.keys(), *value.values()] if isinstance(value, dict) else value


def _leaf(value: Any) -> int:
    if value is None or isinstance(value, (bool, float)):
        return 1
    if isinstance(value, int):
        if value.bit_length() > MAX_BITS:
            raise BudgetError(f"a number has more than {MAX_BITS} bits")
        return value.bit_length() // 8
    if isinstance(value, range):
        return len(value)
    if isinstance(value, Undefined):
        str(value)  # raises with the name, unless it is the missing `else` of an inline `if`
        return 1
    raise TypeError(f"{kind_of(value)} cannot be printed or put into a list; lazy filter results need `|list`")


def kind_of(value: Any) -> str:
    """Return what a value is, without its address or content."""
    return f"a value of type {type(value).__name__}"


def settle(value: Any) -> Any:
    """Charge a value that was just made, and return it.

    Raises:
        BudgetError: It is too big.
    """
    if isinstance(value, str):
        check_length(len(value))
        spend(len(value) >> 3)
    elif isinstance(value, (list, tuple, dict, int)):
        spend(weigh(value) >> 1)
    return value


def text_of(value: Any) -> str:
    """Return plain data as the text that a template prints.

    Raises:
        TypeError: The value is not plain data.
        BudgetError: It is too big.
    """
    if not isinstance(value, str):
        weigh(value)
        value = str(value)
    spend(len(value) >> 3)
    return str(value)

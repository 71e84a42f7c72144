"""Which of the tasks that may start is next: priorities first, then bundles in turn, each with its like tasks together.

Source: M. Shreedhar, G. Varghese, Efficient Fair Queuing Using Deficit Round Robin, SIGCOMM 1995.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """Where a kind of task queues; the tasks of one Place are alike: one bundle, model and adapter.

    Attributes:
        level: Its priority; a lower level goes before every higher one.
        share: Whose turn it uses; the shares of one level take turns.
        lane: Which of the share's queues it is; one lane is emptied before the next begins.
    """

    level: int
    share: int
    lane: int


@dataclass(slots=True)
class _Share:
    """The queues that take turns as one, and what is left of the turn."""

    lanes: dict[int, list[int]] = field(default_factory=dict)
    current: int = -1
    credit: float = 0.0

    def lane(self) -> list[int]:
        """Return the queue whose turn it is: the same as long as it holds tasks."""
        if self.current not in self.lanes:
            self.current = min(self.lanes)
        return self.lanes[self.current]

    def take(self) -> int:
        """Remove the first task of the queue whose turn it is."""
        lane = self.lane()
        task = heapq.heappop(lane)
        if not lane:
            del self.lanes[self.current]
        return task


class Order:
    """The tasks that may start, in the order in which they should; each takes O(log n).

    Tasks are numbers; inside a lane the lower number goes first. Of two shares that both hold tasks, one waits at most
    until each other share of its level had `quantum` of work.

    Args:
        places: The places that there are.
        quantum: How much work a share does at a turn; a larger one keeps more like tasks together.
    """

    def __init__(self, places: Sequence[Place], quantum: float) -> None:
        self._places, self._quantum = places, quantum
        self._shares = {(place.level, place.share): _Share() for place in places}
        self._turns: dict[int, deque[_Share]] = {level: deque() for level in sorted({one.level for one in places})}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def add(self, task: int, place: int) -> None:
        """Let a task start.

        Args:
            task: Its number.
            place: The index of its Place.
        """
        where = self._places[place]
        share = self._shares[where.level, where.share]
        if not share.lanes:
            share.credit = 0.0
            self._turns[where.level].append(share)
        heapq.heappush(share.lanes.setdefault(where.lane, []), task)
        self._length += 1

    def take(self, cost: Sequence[float]) -> int | None:
        """Remove the task that goes next and return its number; None when there is none.

        Args:
            cost: How much work each task is; more than a quantum counts as one.
        """
        turns = next((turns for turns in self._turns.values() if turns), None)
        if turns is None:
            return None
        while True:
            share = turns[0]
            price = min(cost[share.lane()[0]], self._quantum)
            if share.credit >= price:
                break
            share.credit += self._quantum
            turns.rotate(-1)
        share.credit -= price
        self._length -= 1
        task = share.take()
        if not share.lanes:
            turns.popleft()
        return task

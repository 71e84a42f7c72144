"""Tries a task again that the server failed, and tells a task that failed from one that a dead server stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.backends.pacing import REFUSED
from engine.backends.retry import backoff
from engine.events import Bus
from engine.run.plan import Task
from engine.run.task import TaskResult

if TYPE_CHECKING:
    from engine.run.execute import TaskRunner

SERVER = "server"
"""The reason of a task that the server failed: after all attempts, or since the run gave the server up."""

ENDED = "the run ended before the task did: "
"""What the error of a task begins with that was stopped so, before why."""


class Attempts:
    """Runs each task until it ends otherwise than by a failure of the server, at most so many times.

    What the attempts before the last one used counts as used; what they wrote is gone with their workspaces.

    Args:
        inner: Runs one attempt.
        attempts: How often a task is tried at most.
        given_up: Says why the server is given up; empty while it is not. A task that it fails then was not to blame:
            it is stopped, so that the run can be gone on with.
    """

    def __init__(self, inner: TaskRunner, attempts: int, given_up: Callable[[], str]) -> None:
        self._inner, self._attempts, self._given_up = inner, attempts, given_up

    async def run(self, task: Task, bus: Bus, run_id: str) -> TaskResult:
        """Run one task; every failure becomes its result, only cancellation passes through."""
        result = await self._inner.run(task, bus, run_id)
        number = 1
        while result.outcome == "failed" and result.reason == SERVER:
            if why := self._given_up():
                words = REFUSED if why.startswith(REFUSED) else "the server is away"  # the run says the rest, once
                return replace(result, outcome="stopped", error=f"{ENDED}{words}")
            if number >= self._attempts:
                break
            await asyncio.sleep(backoff(number))
            number += 1
            before = result
            result = await self._inner.run(task, bus, run_id)
            result = replace(
                result,
                usage=before.usage + result.usage,
                seconds=round(before.seconds + result.seconds, 3),
                cost=None if before.cost is None or result.cost is None else before.cost + result.cost,
                attempts=number,
            )
        return result

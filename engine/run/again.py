"""One task of a run once more, under the run's id."""

from __future__ import annotations

from engine.events import Bus
from engine.run.execute import Executor, InOrder, LocalRunner, Offer
from engine.run.plan import Task
from engine.run.stage import Services
from engine.run.task import TaskResult


async def run_again(task: Task, services: Services, run_id: str, bus: Bus, offer: Offer) -> TaskResult:
    """Run a task; its events go to the run that it belongs to, and what it offers replaces what waits of it.

    Args:
        task: The task, perhaps with a note.
        services: What it works with.
        run_id: The run.
        bus: Gets the events.
        offer: Stores what it offers.
    """
    executor = Executor(LocalRunner(services), bus, run_id, offer=offer)
    await executor.run(InOrder([task], 1), task.bundle.manifest.limits.seconds + 60)
    return executor.results[-1]

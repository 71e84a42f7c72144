"""Puts the run and the task on the events of a kernel."""

from __future__ import annotations

from dataclasses import replace

from engine.events import Bus, Event


class Stamped:
    """An Observer that passes every event on, stamped with its run and task."""

    def __init__(self, bus: Bus, run_id: str, task_id: str) -> None:
        self._bus, self._run_id, self._task_id = bus, run_id, task_id

    async def on_event(self, event: Event) -> None:
        """Pass an event on."""
        await self._bus.emit(replace(event, run_id=self._run_id, task_id=self._task_id))

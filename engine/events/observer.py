"""Who hears of events: the Observer protocol, and the Bus that tells several of them in order."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from engine.events.encode import dump
from engine.events.types import Event

logging.getLogger("engine").addHandler(logging.NullHandler())
_log = logging.getLogger("engine.events")

Receiver = Callable[[Any], Awaitable[None]]


class Observer(Protocol):
    """Async methods that receive events; a class needs only those it wants, whether it inherits from here or not.

    `on_event` receives every event, before the method of its own kind.
    """

    async def on_event(self, event: Any, /) -> None:
        """Receive every event."""

    async def on_run_start(self, event: Any, /) -> None:
        """Receive a RunStarted."""

    async def on_run_resume(self, event: Any, /) -> None:
        """Receive a RunResumed."""

    async def on_pace_change(self, event: Any, /) -> None:
        """Receive a PaceChanged."""

    async def on_run_plan(self, event: Any, /) -> None:
        """Receive a RunPlanned."""

    async def on_run_end(self, event: Any, /) -> None:
        """Receive a RunFinished."""

    async def on_task_start(self, event: Any, /) -> None:
        """Receive a TaskStarted."""

    async def on_task_end(self, event: Any, /) -> None:
        """Receive a TaskFinished."""

    async def on_kernel_start(self, event: Any, /) -> None:
        """Receive a KernelStarted."""

    async def on_model_request(self, event: Any, /) -> None:
        """Receive a ModelRequested."""

    async def on_model_response(self, event: Any, /) -> None:
        """Receive a ModelResponded."""

    async def on_reply_lost(self, event: Any, /) -> None:
        """Receive a ReplyLost."""

    async def on_tool_call(self, event: Any, /) -> None:
        """Receive a ToolCalled."""

    async def on_tool_result(self, event: Any, /) -> None:
        """Receive a ToolReturned."""

    async def on_turn_complete(self, event: Any, /) -> None:
        """Receive a TurnCompleted."""

    async def on_kernel_end(self, event: Any, /) -> None:
        """Receive a KernelEnded."""

    async def on_error(self, event: Any, /) -> None:
        """Receive an ErrorOccurred."""

    async def on_change_offer(self, event: Any, /) -> None:
        """Receive a ChangeOffered."""

    async def on_change_decision(self, event: Any, /) -> None:
        """Receive a ChangeDecided."""


class Bus:
    """Tells observers of each event, one after the other, in the order they were added.

    An observer that raises is logged and never stops a run. A Bus is an observer itself, so buses nest; `Bus(a, b)`
    makes one observer of two. None is skipped. Under `logging` at DEBUG the logger `engine.events` shows every event.
    """

    def __init__(self, *observers: object) -> None:
        self._observers = tuple(observer for observer in observers if observer is not None)
        self._receivers: dict[type[Event], tuple[Receiver, ...]] = {}

    def add(self, observer: object) -> None:
        """Tell `observer` of all later events."""
        self._observers = (*self._observers, observer)
        self._receivers.clear()

    def remove(self, observer: object) -> None:
        """Stop telling `observer`; one that was never added is ignored."""
        self._observers = tuple(each for each in self._observers if each is not observer)
        self._receivers.clear()

    async def emit(self, event: Event) -> None:
        """Tell every observer, and wait for each in turn."""
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s %s", event.type, dump(event.payload()))
        kind = type(event)
        receivers = self._receivers.get(kind)
        if receivers is None:
            receivers = self._receivers[kind] = _receivers(self._observers, event)
        for receive in receivers:
            try:
                await receive(event)
            except Exception:  # noqa: BLE001 - an observer is foreign code, and a run does not depend on it
                _log.exception("an observer failed on %s and was skipped", event.type)

    async def on_event(self, event: Event) -> None:
        """Pass on an event of another Bus."""
        await self.emit(event)


def _receivers(observers: tuple[object, ...], event: Event) -> tuple[Receiver, ...]:
    """Return the bound methods that want events like this one."""
    names = dict.fromkeys(("on_event", event.method))
    return tuple(
        getattr(observer, name)
        for observer in observers
        for name in names
        if hasattr(observer, name) and getattr(type(observer), name, None) is not getattr(Observer, name, _log)
    )

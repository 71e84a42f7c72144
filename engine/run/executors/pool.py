"""The workers of a run on a Ray cluster: who is there, and who has the least to do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ConfigError
from engine.run.executors.wire import Hello

_log = logging.getLogger("engine.run")

# Seconds until the first worker must have a place, and until the run starts without the others.
_FIRST, _OTHERS = 120.0, 10.0
# Seconds for the workers to stop their tasks at the end.
_STOP = 5.0
# How often in a row a worker may die while it starts.
_DEATHS = 3


@dataclass(eq=False, slots=True)
class Seat:
    """One worker.

    Attributes:
        handle: Ray's handle of the actor.
        host: The machine that it was last on.
        pid: Its process there.
        busy: Tasks that it has.
        up: Whether it takes tasks.
    """

    handle: Any
    host: str = ""
    pid: int = 0
    busy: int = 0
    up: bool = False


class Pool:
    """Workers, each of which Ray places and, when it dies, starts again somewhere.

    Args:
        handles: Handles of the actors.
        given: References of what each is greeted with.
    """

    def __init__(self, handles: Sequence[Any], given: Sequence[Any]) -> None:
        self._seats, self._given = [Seat(handle) for handle in handles], given
        self._changed = asyncio.Condition()
        self._greeting: set[asyncio.Task[None]] = set()
        self._problem = ""

    @property
    def workers(self) -> list[Seat]:
        """The workers that take tasks."""
        return [seat for seat in self._seats if seat.up]

    async def start(self) -> None:
        """Wait until all workers are there, or a while for the others once one is.

        Raises:
            ConfigError: A worker cannot run tasks, or none has found a place.
        """
        for seat in self._seats:
            self._greet(seat)
        began, count = time.monotonic(), len(self._seats)
        while len(self.workers) < count:
            wait = (_OTHERS if self.workers else _FIRST) - (time.monotonic() - began)
            await self._wait(max(wait, 0.0))
            if self._problem:
                raise ConfigError(self._problem)
            if time.monotonic() - began < (_OTHERS if self.workers else _FIRST):
                continue
            if self.workers:
                return
            raise ConfigError(
                f"no worker found a place on the Ray cluster within {_FIRST:.0f} s: its CPUs are taken (ray status)"
            )

    async def take(self) -> Seat:
        """Wait for a worker that takes tasks, and return the one with the fewest.

        Raises:
            ConfigError: None is left.
        """
        async with self._changed:
            while not (up := self.workers):
                if not self._greeting:
                    raise ConfigError(self._problem or "no worker of the Ray cluster is left")
                await self._changed.wait()
            seat = min(up, key=lambda one: one.busy)
            seat.busy += 1
            return seat

    def give_back(self, seat: Seat) -> None:
        """Say that a task of a worker has ended."""
        seat.busy -= 1

    def lost(self, seat: Seat) -> None:
        """Say that a worker has died; Ray starts it again."""
        if seat.up:
            seat.up = False
            self._greet(seat)

    async def stop(self) -> None:
        """Have all workers stop their tasks and end, for a few seconds."""
        for task in self._greeting:
            task.cancel()
        if self._greeting:
            await asyncio.wait(self._greeting)
        stopping = [asyncio.ensure_future(_stop(seat)) for seat in self.workers]
        if stopping:
            _, late = await asyncio.wait(stopping, timeout=_STOP)
            for task in late:
                task.cancel()

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait()

    def _greet(self, seat: Seat) -> None:
        task = asyncio.create_task(self._meet(seat))
        self._greeting.add(task)
        task.add_done_callback(self._greeting.discard)

    async def _meet(self, seat: Seat) -> None:
        hello = await _first_words(seat, self._given)
        seat.host, seat.pid, seat.up = hello.host, hello.pid, not hello.problem
        async with self._changed:
            if hello.problem:
                self._problem = f"the Ray worker on {hello.host}: {hello.problem}"
                _log.error("%s", self._problem)
            self._greeting.discard(asyncio.current_task())
            self._changed.notify_all()


async def _first_words(seat: Seat, given: Sequence[Any]) -> Hello:
    """Greet a worker until it answers; one that dies again and again while it starts is given up."""
    from ray.exceptions import ActorUnavailableError, RayError

    deaths, said = 0, ""
    while deaths < _DEATHS:
        try:
            hello: Hello = await seat.handle.hello.remote(*given)
        except ActorUnavailableError:
            await asyncio.sleep(0.2)
        except RayError as exc:
            deaths, said = deaths + 1, " ".join(str(exc).split())[:300]
            await asyncio.sleep(0.2)
        else:
            return hello
    return Hello(seat.host or "a machine of the cluster", 0, f"it ends while it starts: {said}")


async def _stop(seat: Seat) -> None:
    with contextlib.suppress(Exception):
        await seat.handle.stop.remote()

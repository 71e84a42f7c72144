"""Keeps the embedded model's process: started on demand, restarted for a new adapter, replaced after a crash."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from engine.backends.child import Child, ChildSettings, start_child
from engine.backends.openai_backend import OpenAIBackend


@dataclass(frozen=True, slots=True)
class AdapterFile:
    """A GGUF adapter to load; `stamp` changes with its content."""

    path: str
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """A started child and the client that talks to it."""

    child: Child
    client: OpenAIBackend

    async def stop(self) -> None:
        """Close the client, end the process."""
        try:
            await self.client.aclose()
        finally:
            await self.child.stop()


class Supervisor:
    """One child at a time.

    Args:
        settings: What it is started with; adapters are added as they are asked for.
        timeout: Seconds for one request.
    """

    def __init__(self, settings: ChildSettings, timeout: float) -> None:
        self.settings = settings
        self._timeout = timeout
        self._wanted: dict[str, AdapterFile] = {}
        self._running: Running | None = None
        self._active = 0
        self._idle = asyncio.Event()
        self._idle.set()
        # Held while a child is started or stopped, and while a restart waits for the others to finish: newcomers queue
        # behind it, so a new adapter gets its turn however busy the model is.
        self._changing = asyncio.Lock()
        self.closings = 0

    @property
    def pid(self) -> int | None:
        """The child's process id, or None when there is none."""
        return self._running.child.pid if self._running else None

    @contextlib.asynccontextmanager
    async def use(self, adapter: AdapterFile | None) -> AsyncIterator[Running]:
        """Give a running child that has the adapter loaded."""
        async with self._changing:
            await self._make_ready(adapter)
            running = self._running
            if running is None:
                raise AssertionError("a child was just started")
            self._active += 1
            self._idle.clear()
        try:
            yield running
        finally:
            self._active -= 1
            if not self._active:
                self._idle.set()

    def expect(self, adapter: AdapterFile) -> None:
        """Load this adapter too at the next start."""
        self._wanted[adapter.path] = adapter
        self.settings = replace(self.settings, adapters=tuple(self._wanted))

    async def foresee(self, adapters: Sequence[AdapterFile]) -> None:
        """Load these adapters too at the next start, if no child runs now: each that comes later costs a restart."""
        async with self._changing:
            if self._running is None:
                for adapter in adapters:
                    self.expect(adapter)

    async def _make_ready(self, adapter: AdapterFile | None) -> None:
        if adapter is not None and self._wanted.get(adapter.path) != adapter:
            if self._running is not None:
                await self._idle.wait()
                await self._stop()
            self.expect(adapter)
        if self._running is not None and not self._running.child.alive:
            await self._stop()
        if self._running is None:
            self._running = await self._start()

    async def _start(self) -> Running:
        child, _ = await asyncio.gather(start_child(self.settings), asyncio.to_thread(_import_client))
        client = OpenAIBackend(
            child.address + "/v1",
            api_key=child.key,
            model=self.settings.name,
            dialect="llama_cpp",
            retries=0,
            timeout=self._timeout,
            concurrency=self.settings.parallel,
            label=f"the embedded model {self.settings.name}",
        )
        return Running(child, client)

    async def aclose(self) -> None:
        """End the child; a later `use` starts a new one."""
        self.closings += 1
        async with self._changing:
            await self._stop()

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            await running.stop()


def _import_client() -> None:
    """Import the SDK while the child starts; if it is missing, the client says so."""
    with contextlib.suppress(ImportError):
        import openai  # noqa: F401 - for its side effect

"""The live preview without its looks: what is saved is validated, rendered and run anew, and a view is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from engine.app import App, Fetch, RunRequest
from engine.backends import Backend, StreamTap
from engine.bundle import Bundle, Catalog
from engine.bundle.source import MANIFESTS
from engine.diagnostics import Diagnostic
from engine.errors import ConfigError, EngineError
from engine.reload import Reload, Watcher
from engine.run.enforcement import Enforcer
from engine.tui.dev.events import Cancelled, Cause, Decided, DevEvent, Failed, NodeRow, Said, Started, Validated
from engine.tui.dev.pin import Pin
from engine.tui.dev.preview import Previewer, Source

_log = logging.getLogger("engine.tui")
Listener = Callable[[DevEvent], None]


@dataclass(frozen=True, slots=True)
class DevOptions:
    """What a person asks of the live preview.

    Attributes:
        bundle: The bundle's path, or its name in the project's bundle folder.
        target: The file.
        node: A glob of nodes; the first that the bundle takes if None.
        run: Whether the model is asked; else the preview ends with the prompt.
        settings: Further attributes of RunRequest: params, model, adapter, plugin, base_url, seed, allow_unconstrained.
    """

    bundle: str
    target: Path
    node: str | None = None
    run: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


class DevLoop:
    """The live preview of one bundle on one node; an async context manager.

    Entering it starts to watch, and makes the backend ready; `run` then goes on until it is cancelled. Previews are
    runs like any other, but they keep their events to themselves, and what they offer waits only until the next one.

    Args:
        options: What to preview.
        project: The project's root, if it is not around the working directory.
        fetch: Downloads missing weights while the loop is entered; later ones come without progress.
        backend: A backend to use instead of the configured one; it stays open.

    Raises:
        ConfigError: The target is no file, there is no such bundle, or engine.yaml is wrong.
    """

    def __init__(
        self,
        options: DevOptions,
        project: Path | None = None,
        *,
        fetch: Fetch | None = None,
        backend: Backend | None = None,
    ) -> None:
        if not options.target.is_file():
            raise ConfigError(f"{options.target} is no file: --target takes FILE or FILE::NODE")
        self.options, self._fetch, self._given = options, fetch, backend
        self.app = App.open(project, [options.target])
        self.path = _bundle_path(self.app.locate(options.bundle))
        self._stack = contextlib.AsyncExitStack()
        self._watcher: Watcher
        self._previewer: Previewer
        self._broken: asyncio.Future[None]
        self._listener: Listener | None = None
        self._bundle: Bundle | None = None
        self._source: Source | None = None
        self._preview: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._number = 0

    async def __aenter__(self) -> Self:
        """Watch, read the bundle, and have its model here.

        Raises:
            ConfigError: A setting is wrong, or the model cannot be had.
        """
        try:
            await self._enter()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def _enter(self) -> None:
        options = self.options
        folder = self._stack.enter_context(TemporaryDirectory(prefix="engine-dev-", ignore_cleanup_errors=True))
        # Previews keep their events out of the project's log: the newest run is what `engine accept` takes.
        self.app = App(self.app.root, self.app.config, log=Path(folder) / "events.db")
        request = RunRequest([], [options.target], hold=True, cache=False, attempts=1, **options.settings)
        self._previewer = Previewer(self.app, request, self._tell, options.run, Pin(options.node))
        self._stack.push_async_callback(self._close_backend)
        self._stack.push_async_callback(self._previewer.drop)
        self._watcher = await self._stack.enter_async_context(Watcher([self.path], also=[options.target]))
        self._stack.push_async_callback(self._cancel)
        self._bundle = self._of(self._watcher.catalog)
        if self._bundle is None:
            self._refuse_folder(self._watcher.catalog)
        else:
            await self._source_for(self._bundle, self._fetch)

    def _refuse_folder(self, catalog: Catalog) -> None:
        """Say that a folder of bundles is none, rather than wait for one in it."""
        inside = [name for name, one in catalog.bundles.items() if one.root != self.path]
        if inside and not any((self.path / name).exists() for name in MANIFESTS):
            raise ConfigError(f"{self.path} is no bundle but a folder of some: name one of {', '.join(inside[:20])}")

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def run(self, listener: Listener, *, once: bool = False) -> None:
        """Preview, and again with each save, until cancelled.

        Args:
            listener: Gets the events, in order; what it raises ends the loop.
            once: Preview once and return.
        """
        self._listener, self._broken = listener, asyncio.get_running_loop().create_future()
        self._validated(self._watcher.diagnostics, self._watcher.catalog)
        if self._bundle is not None:
            self._start("start")
        work = asyncio.create_task(self._first() if once else self._follow())
        try:
            await asyncio.wait([work, self._broken], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._listener = None
            await _ended(work)
        if self._broken.done():
            self._broken.result()
        work.result()

    async def _first(self) -> None:
        if self._preview is not None:
            await self._preview

    async def _follow(self) -> None:
        async for reload in self._watcher:
            self._reloaded(reload)

    def again(self) -> None:
        """Preview anew what is in force."""
        self._start("again")

    def pick(self, node: NodeRow) -> None:
        """Preview another node from now on."""
        self._previewer.pin = Pin(node_id=node.node_id, name=node.name)
        self._start("node")

    async def accept(self) -> None:
        """Write the change of the last preview into the project; a file that changed underneath is left alone."""
        if self._previewer.busy:
            self._tell(Said("not accepted: the preview still runs; wait for its end"))
        elif self._previewer.offered is None:
            self._tell(Said("there is no change to accept"))
        else:
            self._tell(Decided(await self._previewer.accept()))

    def _tell(self, event: DevEvent) -> None:
        if self._listener is None:
            return
        try:
            self._listener(event)
        except Exception as error:
            self._listener = None
            if not self._broken.done():
                self._broken.set_exception(error)
            raise

    def _reloaded(self, reload: Reload) -> None:
        before = self._bundle
        self._bundle = self._of(reload.catalog) or before
        self._validated(reload.diagnostics, reload.catalog)
        target = os.path.realpath(self.options.target)
        touched = any(os.path.realpath(file) == target for file in reload.files)
        if self._bundle is not None and (touched or before is None or before.digest != self._bundle.digest):
            self._start("target" if touched else "bundle")

    def _validated(self, diagnostics: Sequence[Diagnostic], catalog: Catalog) -> None:
        sound = self._of(catalog) is not None and all(item.severity != "error" for item in diagnostics)
        self._tell(Validated(tuple(diagnostics), self._bundle is not None, sound, catalog.generation))

    def _of(self, catalog: Catalog) -> Bundle | None:
        """Return the bundle that is previewed, whatever it is called by now."""
        wanted = os.path.realpath(self.path)
        return next((one for one in catalog.bundles.values() if os.path.realpath(one.root) == wanted), None)

    def _start(self, cause: Cause) -> None:
        """Begin a preview; one that still runs is cancelled."""
        if self._bundle is None:
            return
        if self._preview is not None:
            self._preview.cancel()
        self._number += 1
        self._previewer.busy = True
        self._preview = asyncio.create_task(self._make(self._number, cause, self._bundle, time.perf_counter()))

    async def _make(self, number: int, cause: Cause, bundle: Bundle, began: float) -> None:
        async with self._one_at_a_time:
            self._previewer.ended = False
            self._tell(Started(number, cause, bundle.name))
            try:
                source = await self._source_for(bundle, _fetch_quietly if self.options.run else None)
                request = replace(self._previewer.request, bundles=[bundle])
                await self._previewer.make(request, source, began)
            except asyncio.CancelledError:
                if not self._previewer.ended:
                    self._tell(Cancelled())
                raise
            except EngineError as error:
                self._ask_again()
                self._tell(Failed(str(error)))
            except Exception as error:  # noqa: BLE001 - whatever breaks one preview must not end the loop
                _log.exception("a preview broke")
                self._tell(Failed(f"{type(error).__name__}: {error}"))
            finally:
                self._previewer.busy = self._previewer.busy and number != self._number

    async def _source_for(self, bundle: Bundle, fetch: Fetch | None) -> Source:
        """Return the backend of the bundle's model: the one that is open, unless the manifest names another by now."""
        key = bundle.manifest.model.id, bundle.manifest.model.role
        if self._source is None or (self._source.key != key and self._given is None):
            await self._close_backend()
            request = replace(self._previewer.request, bundles=[bundle])
            inner = self._given
            if inner is None:
                inner = await asyncio.to_thread(self.app.backend, request, [bundle], fetch)
            tap = StreamTap(inner, self._previewer.hear)
            self._source = Source(tap, Enforcer(tap, allow=request.allow_unconstrained), key)
        return self._source

    def _ask_again(self) -> None:
        """Let the next preview see anew which constraints are in force: what was missing may have been mended."""
        if self._source is not None:
            enforcer = Enforcer(self._source.backend, allow=self._previewer.request.allow_unconstrained)
            self._source = replace(self._source, enforcer=enforcer)

    async def _close_backend(self) -> None:
        source, self._source = self._source, None
        if source is not None and self._given is None:
            await source.backend.aclose()

    async def _cancel(self) -> None:
        if self._preview is not None:
            await _ended(self._preview)


async def _ended(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait for its end."""
    task.cancel()
    await asyncio.wait([task])


def _fetch_quietly(name: str) -> object:
    from engine.backends import pull

    return pull(name)


def _bundle_path(found: str | Path) -> Path:
    """Return the folder or zip file of a bundle.

    Raises:
        ConfigError: There is none.
    """
    path = Path(found)
    if "://" in str(found) or str(found).startswith("git+"):
        raise ConfigError(f"{found}: only a folder or a zip file can be watched; clone the repository first")
    if not path.exists():
        raise ConfigError(f"{path} does not exist: name a folder with a bundle.yaml, or a bundle of the project")
    return path.parent if path.name in MANIFESTS and path.is_file() else path

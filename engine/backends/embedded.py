"""Completions from a model on this machine: llama.cpp in a child process, spoken to like any other server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from engine.backends.adapter_files import adapter_file
from engine.backends.base import Completion, CompletionRequest, Meter
from engine.backends.child import ChildSettings
from engine.backends.cores import compute_threads, slots_for
from engine.backends.dialects import LlamaCpp
from engine.backends.openai_backend import OpenAIBackend
from engine.backends.server_info import normalise
from engine.backends.supervisor import AdapterFile, Running, Supervisor
from engine.backends.weights import Weights, weights_of_file
from engine.errors import BackendError, BackendRejected, BackendUnavailable, EngineError
from engine.grammar.constraint import Constraint, Kind
from engine.models.base import Adapter

_T = TypeVar("_T")
DEFAULT_CONTEXT = 4096
_CRASHED = "the embedded model crashed"
_TWICE = "the embedded model crashed twice at this request: {}"


class EmbeddedBackend:
    """The embedded model.

    The child process starts with the first request, ends with `aclose` and never outlives this process. An instance
    belongs to one event loop.

    Args:
        weights: The model, from `resolve_weights`, or a GGUF file.
        adapters: Adapters to load at the start; others are loaded when first asked for, while the model is idle.
        parallel: Requests that the model works on at once, each with a slot of its own; by default 2 to 4.
        n_ctx: Tokens of context for each slot.
        threads: Threads that compute; by default one less than there are cores.
        timeout: Seconds for one request.
    """

    name = "embedded"

    def __init__(
        self,
        weights: Weights | Path,
        *,
        adapters: Sequence[Adapter] = (),
        parallel: int | None = None,
        n_ctx: int = DEFAULT_CONTEXT,
        threads: int | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.weights = weights if isinstance(weights, Weights) else weights_of_file(weights)
        threads = threads or compute_threads()
        settings = ChildSettings(
            model=str(self.weights.path.absolute()),
            name=self.weights.name,
            n_ctx=n_ctx,
            parallel=parallel or slots_for(threads),
            threads=threads,
        )
        self._supervisor = Supervisor(settings, timeout)
        self._names = {normalise(name) for name in (self.weights.name, self.weights.path.name, *self.weights.bases)}
        self._first = [adapter for adapter in adapters if self.accepts(adapter)]
        self._files: dict[Adapter, AdapterFile] = {}
        self._preparing = asyncio.Lock()

    @property
    def url(self) -> str:
        """What messages call it."""
        return f"the embedded model {self.weights.name}"

    @property
    def concurrency(self) -> int:
        """How many requests at once it is good for."""
        return self._supervisor.settings.parallel

    @property
    def plugin(self) -> str | None:
        """The ModelPlugin of the model's family, or None when its file does not say."""
        return self.weights.plugin

    @property
    def context(self) -> int:
        """Tokens of context of each request."""
        return self._supervisor.settings.n_ctx

    @property
    def pid(self) -> int | None:
        """The child's process id, or None when none runs."""
        return self._supervisor.pid

    def accepts(self, adapter: Adapter) -> bool:
        """Whether this adapter has files and was not trained on another model."""
        if adapter.gguf is None and adapter.peft is None:
            return False
        return adapter.base is None or normalise(adapter.base) in self._names

    async def model_name(self) -> str:
        """Return the model's name; nothing is started."""
        return self.weights.name

    async def spelled(self, constraint: Constraint) -> Mapping[str, Any]:
        """Return the fields with which a request asks llama.cpp for a constraint.

        Raises:
            BackendRejected: It knows none of this kind.
        """
        return LlamaCpp().constrain(constraint)

    async def software(self) -> str:
        """Start the model and return what runs it."""
        from importlib.metadata import version

        await self._prepare_first()
        said = await self._with_child(None, lambda client: client.software())
        return f"{said} (xllamacpp {version('xllamacpp')})"

    async def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds of constraint that llama.cpp enforces; nothing is started."""
        return LlamaCpp.kinds

    async def prepare(self, adapters: Sequence[Adapter], models: Sequence[str] = ()) -> None:
        """Have the files of the adapters ready; an adapter that was trained on another model is left alone.

        Raises:
            BackendRejected: Another model is asked for.
            BundleError: An adapter's files cannot be used.
        """
        for model in models:
            self._refuse_other(model)
        files = [await self._file(adapter) for adapter in adapters if self.accepts(adapter)]
        await self._supervisor.foresee(files)

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer one request; an adapter that does not fit the model is left out, and the Completion says so.

        Raises:
            BackendUnavailable: The model does not start, or crashed twice.
            BackendRejected: The grammar is wrong, or another model is asked for.
            ContextLengthError: The prompt does not fit.
            BundleError: The adapter's files cannot be used.
        """
        file, inner = await self._inner(request)
        return await self._with_child(file, lambda client: client.complete(inner), inner.meter)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer one request piece by piece: the text as it comes, at the end the whole Completion.

        Raises:
            BackendError: As `complete` does; after a crash beyond the first piece it does not begin anew.
        """
        file, inner = await self._inner(request)
        story, closings, begun = "", self._supervisor.closings, False
        for number in range(2):
            if number and inner.meter is not None:
                await inner.meter.again(_CRASHED)
            async with self._supervisor.use(file) as running:
                written = running.child.log_size()
                try:
                    async with contextlib.aclosing(running.client.stream(inner)) as pieces:
                        async for piece in pieces:
                            begun = True
                            yield piece
                except (BackendUnavailable, BackendRejected) as error:
                    story = await self._story(error, running, written, closings)
                else:
                    return
            if begun:
                raise BackendUnavailable(f"the embedded model crashed in the middle of its answer: {story}")
        raise BackendUnavailable(_TWICE.format(story))

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the number of prompt tokens, starting the model if needed."""
        await self._prepare_first()
        return await self._with_child(None, lambda client: client.count_tokens(messages))

    async def aclose(self) -> None:
        """End the child process."""
        await self._supervisor.aclose()

    def _refuse_other(self, model: str) -> None:
        if normalise(model) not in self._names:
            raise BackendRejected(
                f"the embedded model is {self.weights.name!r}, not {model!r}: choose the model with --model or "
                f"backend.model, or use a server that has it"
            )

    async def _inner(self, request: CompletionRequest) -> tuple[AdapterFile | None, CompletionRequest]:
        """Return the adapter's file and the request as the child takes it."""
        if request.model is not None:
            self._refuse_other(request.model)
        adapter = request.adapter if request.adapter is not None and self.accepts(request.adapter) else None
        await self._prepare_first()
        file = await self._file(adapter) if adapter is not None else None
        served = Adapter(adapter.name, served_name=file.path) if adapter is not None and file is not None else None
        return file, replace(request, model=None, adapter=served)

    async def _prepare_first(self) -> None:
        """Have the adapters known from the start loaded by the first child; a broken one fails only who asks for it."""
        if not self._first:
            return
        async with self._preparing:
            while self._first:
                with contextlib.suppress(EngineError):
                    self._supervisor.expect(await self._file(self._first[0]))
                self._first.pop(0)

    async def _file(self, adapter: Adapter) -> AdapterFile:
        if adapter not in self._files:
            path = await asyncio.to_thread(adapter_file, adapter, self.weights.path)
            self._files[adapter] = AdapterFile(str(path), adapter.digest)
        return self._files[adapter]

    async def _with_child(
        self, file: AdapterFile | None, ask: Callable[[OpenAIBackend], Awaitable[_T]], meter: Meter | None = None
    ) -> _T:
        """Ask the child; if it crashes meanwhile, once more with a new one, of which the meter hears."""
        story, closings = "", self._supervisor.closings
        for number in range(2):
            if number and meter is not None:
                await meter.again(_CRASHED)
            async with self._supervisor.use(file) as running:
                written = running.child.log_size()
                try:
                    return await ask(running.client)
                except (BackendUnavailable, BackendRejected) as error:
                    story = await self._story(error, running, written, closings)
        raise BackendUnavailable(_TWICE.format(story))

    async def _story(self, error: BackendError, running: Running, written: int, closings: int) -> str:
        """Return how the child crashed, if that is what happened; raise what it was instead."""
        if isinstance(error, BackendRejected):
            raise BackendRejected(f"{error}{_last_words(running, written)}") from error
        if self._supervisor.closings != closings:
            raise BackendUnavailable("the embedded model was closed during this request") from error
        if not await running.child.died():
            raise error
        return running.child.epitaph()


def _last_words(running: Running, since: int) -> str:
    """Return what llama.cpp wrote about the grammar; its answer says only that it is wrong."""
    lines = [line for line in running.child.written(since).splitlines() if line.startswith("parse:")]
    return f" ({lines[0]})" if lines else ""

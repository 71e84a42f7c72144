"""A Backend around another that hands out the pieces of each reply while it is generated."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.errors import BackendUnavailable
from engine.grammar.constraint import Constraint, Kind
from engine.models.base import Adapter

Heard = Callable[[str], None]
"""Gets each piece of a reply's text as it comes."""


class StreamTap:
    """Answers as the inner backend does, and lets the reply be seen while it comes.

    `complete` asks the inner backend for a stream, so that cancelling it closes the connection and the server stops
    generating. What differs from the inner `complete`: a failure after the first piece is not retried.

    Args:
        inner: Where the completions come from; closed with this one.
        heard: Gets the pieces of every reply, in order.
    """

    def __init__(self, inner: Backend, heard: Heard) -> None:
        self.inner, self._heard = inner, heard
        self.name = inner.name

    @property
    def url(self) -> str:
        """What messages call the inner backend."""
        return self.inner.url

    @property
    def concurrency(self) -> int:
        """How many requests at once the inner backend is good for."""
        return self.inner.concurrency

    @property
    def plugin(self) -> str | None:
        """The ModelPlugin of an embedded model's family; None where the inner backend does not say."""
        plugin: str | None = getattr(self.inner, "plugin", None)
        return plugin

    def accepts(self, adapter: Adapter) -> bool:
        """Whether this adapter can answer at the inner backend."""
        return self.inner.accepts(adapter)

    async def software(self) -> str:
        """Return what answers, with its version as far as it says."""
        return await self.inner.software()

    async def model_name(self) -> str:
        """Return the default model's name."""
        return await self.inner.model_name()

    async def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds of constraint that the server can be asked for."""
        return await self.inner.kinds()

    async def spelled(self, constraint: Constraint) -> Mapping[str, Any]:
        """Return the fields with which a request asks for a constraint."""
        return await self.inner.spelled(constraint)

    async def prepare(self, adapters: Sequence[Adapter], models: Sequence[str] = ()) -> None:
        """Make adapters and models ready at the inner backend."""
        await self.inner.prepare(adapters, models)

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer one request piece by piece; each piece is heard before it is handed on."""
        async with contextlib.aclosing(self.inner.stream(request)) as parts:
            async for part in parts:
                if isinstance(part, str):
                    self._heard(part)
                yield part

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer one request, from a stream of the inner backend.

        Raises:
            BackendError: As the inner `stream` does, or the stream ended without its Completion.
        """
        async with contextlib.aclosing(self.stream(request)) as parts:
            async for part in parts:
                if isinstance(part, Completion):
                    return part
        raise BackendUnavailable(f"{self.url} ended a streamed reply without saying that it was complete")

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the number of prompt tokens, or None when the backend cannot say."""
        return await self.inner.count_tokens(messages)

    async def aclose(self) -> None:
        """Close the inner backend."""
        await self.inner.aclose()

"""A Backend around another that hands out the pieces of each reply while it is generated."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable

from engine.backends.around import Around
from engine.backends.base import Backend, Completion, CompletionRequest
from engine.errors import BackendUnavailable

Heard = Callable[[str], None]
"""Gets each piece of a reply's text as it comes."""


class StreamTap(Around):
    """Answers as the inner backend does, and lets the reply be seen while it comes.

    `complete` asks the inner backend for a stream, so that cancelling it closes the connection and the server stops
    generating. What differs from the inner `complete`: a failure after the first piece is not retried.

    Args:
        inner: Where the completions come from; closed with this one.
        heard: Gets the pieces of every reply, in order.
    """

    def __init__(self, inner: Backend, heard: Heard) -> None:
        super().__init__(inner)
        self._heard = heard

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

"""Tells a key that the server does not take any more from a single request that it refuses in the same words."""

from __future__ import annotations

import asyncio

from engine.backends.base import Backend, CompletionRequest
from engine.backends.pacing.clock import clock_stopped
from engine.errors import BackendError, KeyRefused
from engine.manifest.bundle_model import Sampling

REFUSED = "the server refuses the key"
"""What is said then, before since when."""

# Seconds for an answer to a question that a working server answers with one token.
_PATIENCE = 60.0
_QUESTION = ({"role": "user", "content": "Say ok."},)

_Who = tuple[str | None, str | None]


class Refusals:
    """Knows which models answered, and asks a short question when one of them refuses the key.

    A filter may refuse what one request says; that is no reason to end a run. A server that refuses a harmless question
    as well refuses the key. Where only one of several models was ever refused, it is that model, and not the key.

    Args:
        backend: Where the question is asked.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._asking = asyncio.Lock()
        self._answered: dict[_Who, float] = {}
        self._meant = False

    def answered(self, request: CompletionRequest, began: float) -> None:
        """Hear of an answer.

        Args:
            request: What was answered.
            began: When it was sent, in seconds on a clock that only goes forward.
        """
        who = _who(request)
        self._answered[who] = max(began, self._answered.get(who, began))

    async def mean_the_key(self, request: CompletionRequest, when: float) -> bool:
        """Return whether a request was refused for the key, and so would any other be; asks one question at a time.

        Args:
            request: What was refused.
            when: When it was refused, on the same clock; what was sent later, and answered, tells that it was not the
                key.
        """
        who = _who(request)
        async with self._asking:
            if self._meant:
                return True
            if self._answered.get(who, float("-inf")) > when or (self._answered and who not in self._answered):
                return False
            question = CompletionRequest(
                _QUESTION, request.model, sampling=Sampling(max_tokens=1), adapter=request.adapter
            )
            try:
                with clock_stopped():
                    async with asyncio.timeout(_PATIENCE):
                        await self._backend.complete(question)
            except KeyRefused:
                self._meant = True
            except (BackendError, TimeoutError):
                return False  # nobody knows
            return self._meant


def _who(request: CompletionRequest) -> _Who:
    return request.model, request.adapter.name if request.adapter is not None else None

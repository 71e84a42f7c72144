"""A known embedded model that is not on this machine: enough to render requests, never to answer them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from importlib.util import find_spec as find_module
from typing import Any

from engine.backends.base import Completion, CompletionRequest
from engine.backends.embedded import EmbeddedBackend
from engine.backends.weights import Weights, find_spec, weights_path
from engine.errors import BackendUnavailable, EngineError, MissingExtraError
from engine.models.base import Adapter


class AbsentBackend(EmbeddedBackend):
    """Knows the model's name, family and adapters; counts no tokens.

    Args:
        name: A name of the weights table.
    """

    def __init__(self, name: str) -> None:
        spec = find_spec(name)
        super().__init__(Weights(weights_path(spec), spec.name, spec.plugin, (spec.hub_id,)))

    async def software(self) -> str:
        """Refuse.

        Raises:
            BackendUnavailable: Always; a MissingExtraError where the runtime is missing too.
        """
        raise self._absent()

    async def prepare(self, adapters: Sequence[Adapter], models: Sequence[str] = ()) -> None:  # noqa: ARG002 - the Protocol's signature
        """Refuse.

        Raises:
            BackendUnavailable: Always; a MissingExtraError where the runtime is missing too.
        """
        raise self._absent()

    async def complete(self, request: CompletionRequest) -> Completion:  # noqa: ARG002 - the Protocol's signature
        """Refuse.

        Raises:
            BackendUnavailable: Always; a MissingExtraError where the runtime is missing too.
        """
        raise self._absent()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:  # noqa: ARG002 - the Protocol's signature
        """Refuse.

        Raises:
            BackendUnavailable: Always, with the first piece.
        """
        raise self._absent()
        yield ""  # makes it a generator

    def _absent(self) -> EngineError:
        if find_module("xllamacpp") is None:
            return MissingExtraError("the embedded model", "local")
        name = self.weights.name
        return BackendUnavailable(f"the model {name!r} is not on this machine: engine models pull {name}")

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:  # noqa: ARG002 - the Protocol's signature
        """Return None: there is no tokenizer."""
        return None

"""What every Backend around another passes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.backends.base import Backend
from engine.grammar.constraint import Constraint, Kind
from engine.models.base import Adapter


class Around:
    """Passes on all but the requests.

    Args:
        inner: Where the completions come from; closed with this one.
    """

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
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

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the number of prompt tokens, or None when the backend cannot say."""
        return await self.inner.count_tokens(messages)

    async def aclose(self) -> None:
        """Close the inner backend."""
        await self.inner.aclose()

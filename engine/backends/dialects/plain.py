"""A server whose software is not known: plain completions work, a constraint is refused rather than sent on trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.backends.dialects.base import NO_FIELDS, Call, LoraEndpoints, Selection, sampling_fields, select_by_name
from engine.backends.server_info import ServerInfo
from engine.errors import BackendRejected
from engine.grammar.constraint import Constraint, Kind
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter


class Plain:
    """The dialect of an unknown server."""

    name = "plain"
    software = "a server of unknown software"
    kinds: tuple[Kind, ...] = ()
    closes_streams = True
    lists_models = False
    lora: LoraEndpoints | None = None
    afresh: Mapping[str, Any] = NO_FIELDS

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """Refuse every constraint: servers ignore unknown fields, and the reply would be unconstrained."""
        if constraint.kind == "none":
            return {}
        raise BackendRejected(
            "the server does not say what it is, so a grammar cannot be put into force: set backend.dialect to vllm, "
            "llama_cpp, sglang or openai in engine.yaml, or grammar.strategy to none in bundle.yaml"
        )

    def sampling(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields."""
        return sampling_fields(sampling)

    def select(self, server: ServerInfo, adapter: Adapter | None) -> Selection:
        """Return the adapter's name as the model where the server lists it."""
        return select_by_name(server, adapter)

    async def version(self, call: Call) -> str | None:  # noqa: ARG002 - the Protocol's signature
        """Return None: there is no endpoint that all have."""
        return None

    async def adapters(self, call: Call) -> tuple[str, ...]:  # noqa: ARG002 - the Protocol's signature
        """Return nothing."""
        return ()

    async def count_tokens(self, call: Call, model: str, messages: Sequence[Mapping[str, Any]]) -> int | None:  # noqa: ARG002 - the Protocol's signature
        """Return None: there is no common endpoint."""
        return None

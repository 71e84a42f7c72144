"""What one server software spells in its own way: constraints, adapters, token counts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from engine.backends.server_info import ServerInfo, names_of
from engine.errors import BackendRejected
from engine.grammar.constraint import Constraint, Kind
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter

# Sends a JSON body (None: GET) to a path below the server's root and returns the parsed answer.
Call = Callable[[str, Mapping[str, Any] | None], Awaitable[Any]]
NO_FIELDS: Mapping[str, Any] = MappingProxyType({})


def wrong_kind(software: str, kind: Kind, takes: tuple[Kind, ...]) -> BackendRejected:
    """Return the error for a constraint that a server cannot be asked for."""
    ways = {"ebnf": "mode ebnf", "structural_tag": "mode structural_tag", "json_schema": "mode json_schema"}
    offered = [ways.get(one, "model.plugin openai") for one in takes]
    return BackendRejected(
        f"{software} cannot take a constraint of kind {kind}: set grammar.mode to auto (or {', '.join(offered)}) in "
        f"bundle.yaml"
    )


async def version_at(call: Call, path: str, key: str) -> str | None:
    """Return the version that an endpoint of the server tells."""
    answer = await call(path, None)
    said = answer.get(key) if isinstance(answer, Mapping) else None
    return said if isinstance(said, str) and said else None


@dataclass(frozen=True, slots=True)
class LoraEndpoints:
    """Where a server loads and unloads adapters while it runs: paths below its root.

    Both take `lora_name`; `load` also takes `lora_path`, a PEFT folder that the server can read.
    """

    load: str
    unload: str


@dataclass(frozen=True, slots=True)
class Selection:
    """How a request asks for an adapter.

    Attributes:
        found: Whether the server offers the adapter.
        model: The model's name to send, where the adapter is one.
        fields: Fields to add to the request's body.
    """

    found: bool
    model: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


def select_by_name(server: ServerInfo, adapter: Adapter | None) -> Selection:
    """Return the adapter's name as the model, where the server lists it among its models."""
    if adapter is None:
        return Selection(found=True)
    listed = {model.id for model in server.models}
    name = next((name for name in names_of(adapter) if name in listed), None)
    return Selection(found=name is not None, model=name)


def sampling_fields(sampling: Sampling) -> dict[str, Any]:
    """Return the fields of a request's body that choose the tokens, as most servers name them."""
    fields: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_tokens": sampling.max_tokens,
    }
    if sampling.seed is not None:
        fields["seed"] = sampling.seed
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    return fields


class Dialect(Protocol):
    """One server software.

    Attributes:
        name: Its name in engine.yaml.
        software: Its name for people.
        kinds: The kinds of constraint that it can be asked for.
        closes_streams: Whether it may close the connection behind a streamed answer without saying so, so that the next
            request must not be sent into it.
        lists_models: Whether `/v1/models` names every model that it answers for.
        lora: How it loads adapters while it runs; None if it does not.
        afresh: Fields with which a request reuses nothing that was computed for earlier ones; none where it cannot say.
    """

    name: str
    software: str
    kinds: tuple[Kind, ...]
    closes_streams: bool
    lists_models: bool
    lora: LoraEndpoints | None
    afresh: Mapping[str, Any]

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """Return the fields of the request's body that put a constraint into force.

        Raises:
            BackendRejected: The server cannot be asked for this kind of constraint.
        """
        ...

    def sampling(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields of the request's body that choose the tokens."""
        ...

    def select(self, server: ServerInfo, adapter: Adapter | None) -> Selection:
        """Return how to ask for an adapter; None means the plain model."""
        ...

    async def version(self, call: Call) -> str | None:
        """Ask for the software's version; None when the server does not say."""
        ...

    async def adapters(self, call: Call) -> tuple[str, ...]:
        """Ask for what `/v1/models` does not tell: the paths of the loaded adapters, in the order of their ids."""
        ...

    async def count_tokens(self, call: Call, model: str, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the length of a prompt in tokens, or None when the server cannot say."""
        ...

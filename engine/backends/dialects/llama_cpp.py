"""llama.cpp's server: `grammar` (GBNF) or `json_schema`; adapters by id and scale; `/apply-template` with `/tokenize`.

Source: the README of llama.cpp's `tools/server`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from engine.backends.connection import MalformedReplyError
from engine.backends.dialects.base import Call, LoraEndpoints, Selection, sampling_fields, version_at, wrong_kind
from engine.backends.server_info import ServerInfo, names_of
from engine.grammar.constraint import Constraint, Kind
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter

_NO_ADAPTERS = "answered /lora-adapters with something else than adapters"


class LlamaCpp:
    """The dialect of llama.cpp."""

    name = "llama_cpp"
    software = "llama.cpp"
    kinds: tuple[Kind, ...] = ("ebnf", "json_schema")
    closes_streams = True
    lists_models = True
    lora: LoraEndpoints | None = None
    # A prompt that is computed in other pieces, since its beginning was kept, rounds differently.
    afresh: Mapping[str, Any] = MappingProxyType({"cache_prompt": False})

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """Return `grammar` or `json_schema`; llama.cpp knows no structural tags, and its tools force nothing."""
        match constraint.kind:
            case "none":
                return {}
            case "ebnf":
                return {"grammar": constraint.value}
            case "json_schema":
                return {"json_schema": constraint.value}
            case kind:
                raise wrong_kind(self.software, kind, self.kinds)

    def sampling(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields."""
        return sampling_fields(sampling)

    def select(self, server: ServerInfo, adapter: Adapter | None) -> Selection:
        """Return the scale of every loaded adapter, since one that is not named keeps the scale it was loaded with."""
        wanted = None
        if adapter is not None:
            ids = (server.adapter_id(name) for name in names_of(adapter))
            wanted = next((index for index in ids if index is not None), None)
        scales = [{"id": index, "scale": float(index == wanted)} for index in range(len(server.adapters))]
        return Selection(found=adapter is None or wanted is not None, fields={"lora": scales} if scales else {})

    async def version(self, call: Call) -> str | None:
        """Ask `/props`."""
        return await version_at(call, "/props", "build_info")

    async def adapters(self, call: Call) -> tuple[str, ...]:
        """Ask `/lora-adapters`; its ids are positions."""
        rows = await call("/lora-adapters", None)
        if not isinstance(rows, list):
            raise MalformedReplyError(_NO_ADAPTERS)
        try:
            return tuple(str(row["path"]) for row in sorted(rows, key=lambda row: int(row["id"])))
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise MalformedReplyError(_NO_ADAPTERS) from error

    async def count_tokens(self, call: Call, model: str, messages: Sequence[Mapping[str, Any]]) -> int | None:  # noqa: ARG002 - the Protocol's signature
        """Render the messages with `/apply-template` and count with `/tokenize`, as the chat endpoint does."""
        prompt = (await call("/apply-template", {"messages": list(messages)}))["prompt"]
        answer = await call("/tokenize", {"content": prompt, "add_special": True, "parse_special": True})
        return len(answer["tokens"])

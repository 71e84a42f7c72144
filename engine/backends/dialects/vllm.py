"""vLLM: `structured_outputs` with exactly one key; an adapter is a model's name; `/tokenize` counts messages.

Source: vLLM 0.32, structured outputs, tool calling and LoRA adapters of its OpenAI-compatible server. The older
`guided_*` fields are answered with 200 and ignored there, so they are never sent. Strict tools need the server's
`--enable-auto-tool-choice --tool-call-parser`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.backends.dialects.base import (
    NO_FIELDS,
    Call,
    LoraEndpoints,
    Selection,
    sampling_fields,
    select_by_name,
    version_at,
)
from engine.backends.server_info import ServerInfo
from engine.grammar.constraint import Constraint, Kind
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter

_KEYS = {"ebnf": "grammar", "json_schema": "json", "structural_tag": "structural_tag"}


class Vllm:
    """The dialect of vLLM."""

    name = "vllm"
    software = "vLLM"
    kinds: tuple[Kind, ...] = ("ebnf", "structural_tag", "json_schema", "strict_tools")
    closes_streams = False
    lists_models = True
    lora: LoraEndpoints | None = LoraEndpoints("/v1/load_lora_adapter", "/v1/unload_lora_adapter")
    afresh: Mapping[str, Any] = NO_FIELDS

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """Return `structured_outputs`, a structural tag as a JSON string; or the fields of strict tools."""
        if constraint.kind == "none":
            return {}
        value: Any = constraint.value
        if constraint.kind == "strict_tools":
            return dict(value)
        if constraint.kind == "structural_tag" and not isinstance(value, str):
            value = json.dumps(value)
        return {"structured_outputs": {_KEYS[constraint.kind]: value}}

    def sampling(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields."""
        return sampling_fields(sampling)

    def select(self, server: ServerInfo, adapter: Adapter | None) -> Selection:
        """Return the adapter's name as the model."""
        return select_by_name(server, adapter)

    async def version(self, call: Call) -> str | None:
        """Ask `/version`."""
        return await version_at(call, "/version", "version")

    async def adapters(self, call: Call) -> tuple[str, ...]:  # noqa: ARG002 - the Protocol's signature
        """Return nothing: `/v1/models` lists the adapters."""
        return ()

    async def count_tokens(self, call: Call, model: str, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Ask `/tokenize`, which applies the chat template."""
        answer = await call("/tokenize", {"model": model, "messages": list(messages)})
        count = answer.get("count")
        return count if isinstance(count, int) else None

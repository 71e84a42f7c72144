"""SGLang: `ebnf`, or `response_format` for schemas and structural tags; an adapter is named in `lora_path`.

Source: SGLang's documentation of structured outputs and of LoRA serving, and `ChatCompletionRequest` of its
OpenAI-compatible server. Strict tools need the server's `--tool-call-parser`.
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


class SgLang:
    """The dialect of SGLang."""

    name = "sglang"
    software = "SGLang"
    kinds: tuple[Kind, ...] = ("ebnf", "structural_tag", "json_schema", "strict_tools")
    closes_streams = False
    lists_models = True
    lora: LoraEndpoints | None = LoraEndpoints("/load_lora_adapter", "/unload_lora_adapter")
    afresh: Mapping[str, Any] = NO_FIELDS

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """Return `ebnf`, `response_format` (a structural tag is one itself, as an object), or the strict tools."""
        value: Any = constraint.value
        match constraint.kind:
            case "none":
                return {}
            case "ebnf":
                return {"ebnf": value}
            case "structural_tag":
                return {"response_format": json.loads(value) if isinstance(value, str) else value}
            case "json_schema":
                return {"response_format": schema_format(value)}
            case "strict_tools":
                return dict(value)

    def sampling(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields."""
        return sampling_fields(sampling)

    def select(self, server: ServerInfo, adapter: Adapter | None) -> Selection:
        """Return the adapter's name as `lora_path` beside the base model: a row of `/v1/models` is no model's name."""
        chosen = select_by_name(server, adapter)
        return Selection(chosen.found, fields={"lora_path": chosen.model} if chosen.model else {})

    async def version(self, call: Call) -> str | None:
        """Ask `/server_info`."""
        return await version_at(call, "/server_info", "version")

    async def adapters(self, call: Call) -> tuple[str, ...]:  # noqa: ARG002 - the Protocol's signature
        """Return nothing: `/v1/models` lists the adapters."""
        return ()

    async def count_tokens(self, call: Call, model: str, messages: Sequence[Mapping[str, Any]]) -> int | None:  # noqa: ARG002 - the Protocol's signature
        """Return None: its `/tokenize` takes a text, to which no chat template was applied."""
        return None


def schema_format(schema: str | Mapping[str, Any]) -> dict[str, Any]:
    """Return the `response_format` of a JSON Schema."""
    parsed = json.loads(schema) if isinstance(schema, str) else schema
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": parsed, "strict": True}}

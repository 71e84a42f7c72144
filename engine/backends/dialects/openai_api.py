"""OpenAI's own API and those that follow it to the letter: strict `response_format`, strict tools, no grammars.

Source: OpenAI's API reference of chat completions and its guide to structured outputs. `max_tokens` is deprecated there
and refused by its newer models, `temperature` and `top_p` are refused by some unless they have the API's default.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from engine.backends.dialects.base import sampling_fields, wrong_kind
from engine.backends.dialects.plain import Plain
from engine.backends.dialects.sglang import schema_format
from engine.backends.dialects.strict_subset import why_not_strict
from engine.errors import BackendRejected
from engine.grammar.constraint import Constraint, Kind
from engine.manifest.bundle_model import Sampling

_DEFAULTS = {"temperature": 1.0, "top_p": 1.0}


class OpenAIApi(Plain):
    """The dialect of OpenAI: that of any server, but for the constraints and the sampling."""

    name = "openai"
    software = "the OpenAI API"
    kinds: tuple[Kind, ...] = ("json_schema", "strict_tools")

    def constrain(self, constraint: Constraint) -> dict[str, Any]:
        """Return `response_format` or the strict tools, if their schemas lie in the API's subset."""
        value: Any = constraint.value
        match constraint.kind:
            case "none":
                return {}
            case "json_schema":
                schema = json.loads(value) if isinstance(value, str) else value
                _refuse("the reply", schema)
                return {"response_format": schema_format(schema)}
            case "strict_tools":
                for function in (tool.get("function", {}) for tool in value.get("tools", ())):
                    if function.get("strict"):
                        _refuse(f"the tool {function.get('name')!r}", function.get("parameters") or {})
                return dict(value)
            case kind:
                raise wrong_kind(self.software, kind, self.kinds)

    def sampling(self, sampling: Sampling) -> dict[str, Any]:
        """Return the fields; what has the API's default anyway is left out, since some models refuse to be told."""
        fields = sampling_fields(sampling)
        fields["max_completion_tokens"] = fields.pop("max_tokens")
        return {name: value for name, value in fields.items() if _DEFAULTS.get(name) != value}


def _refuse(what: str, schema: Mapping[str, Any]) -> None:
    problem = why_not_strict(schema)
    if problem is not None:
        raise BackendRejected(
            f"the schema of {what} is not in the subset that the OpenAI API enforces: {problem}. Set model.plugin to "
            f"openai in bundle.yaml (or --plugin openai), which writes schemas within it, or grammar.strategy to none"
        )

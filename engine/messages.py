"""What a conversation is made of: messages, tool schemas, calls, results and token counts.

Plain frozen dataclasses, shared by every room; how a model family writes them is the ModelPlugin's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.errors import ToolSchemaError

Outcome = Literal["success", "partial", "error"]
_FORM = 'write {"name": …, "description": …, "parameters": {"type": "object", …}} or the OpenAI form around it'


@dataclass(frozen=True, slots=True)
class ToolSchema:
    """A tool as the model sees it; `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    @classmethod
    def from_any(cls, schema: ToolSchema | Mapping[str, Any]) -> ToolSchema:
        """Accept a ToolSchema, `{"name", "description", "parameters"}` or the OpenAI form around it.

        Raises:
            ToolSchemaError: It is neither.
        """
        if isinstance(schema, ToolSchema):
            return schema
        inner = schema.get("function", schema) if isinstance(schema, Mapping) else None
        if not isinstance(inner, Mapping):
            raise ToolSchemaError(f"a tool schema is no object: {_shown(schema)}; {_FORM}")
        name, description = inner.get("name"), inner.get("description")
        if not isinstance(name, str) or not name.strip():
            raise ToolSchemaError(f"a tool schema has no name: {_shown(schema)}; {_FORM}")
        if description is not None and not isinstance(description, str):
            raise ToolSchemaError(f"the description of the tool '{name}' is no text: {_shown(description)}; {_FORM}")
        return cls(name, description or "", _parameters(name, inner.get("parameters")))


def _parameters(name: str, given: Any) -> Mapping[str, Any]:
    if given is None or given == {}:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    if not isinstance(given, Mapping) or given.get("type", "object") != "object":
        raise ToolSchemaError(
            f"the parameters of the tool '{name}' are no JSON Schema of type object: {_shown(given)}; {_FORM}"
        )
    return given


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A request of the model; `id` is the API's own where it gave one."""

    id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MalformedCall:
    """A call that could not be read: its raw text and why."""

    text: str
    problem: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The answer to a call, as data.

    Attributes:
        call_id: The id of the ToolCall.
        name: The tool's name.
        content: What the model reads, compact JSON or plain text.
        value: The JSON value that the tool returned (None for an error).
        is_error: True when the tool failed; `content` then says why.
        summary: One or two sentences for people and for later prompts.
        outcome: How the tool judged its own work.
        knowledge_delta: Facts that the tool learned.
        duration_ms: Wall time in milliseconds.
    """

    call_id: str
    name: str
    content: str
    value: Any = None
    is_error: bool = False
    summary: str = ""
    outcome: Outcome = "success"
    knowledge_delta: Mapping[str, Any] = field(default_factory=dict)
    duration_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; a `tool` message answers the call `tool_call_id` of tool `name`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one or more completions."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.cached_tokens + other.cached_tokens,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's reply, parsed: the text around the calls, the calls, and the calls that could not be read."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    malformed: tuple[MalformedCall, ...] = ()
    usage: Usage = Usage()

"""What a backend takes and gives: one completion at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.grammar.constraint import NO_CONSTRAINT, Constraint
from engine.manifest.bundle_model import Sampling
from engine.messages import Usage
from engine.models.base import Adapter


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One request.

    Attributes:
        messages: Wire messages, as the ModelPlugin built them.
        model: The model's name; None is the backend's default.
        constraint: What the reply may look like.
        sampling: How tokens are chosen.
        adapter: The LoRA adapter that answers, or None.
    """

    messages: Sequence[Mapping[str, Any]]
    model: str | None = None
    constraint: Constraint = NO_CONSTRAINT
    sampling: Sampling = field(default_factory=Sampling)
    adapter: Adapter | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer.

    Attributes:
        text: The reply's text.
        tool_calls: The calls that the server parsed itself, as it sent them.
        finish_reason: `stop`, `length` or `tool_calls`.
        usage: Token counts.
        model: The model that answered.
        adapter: The adapter that answered, by its name in the bundle; None when there was none or it does not fit
            the model.
    """

    text: str
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    adapter: str | None = None


class Backend(Protocol):
    """Where completions come from."""

    name: str

    @property
    def concurrency(self) -> int:
        """How many requests at once it is good for."""
        ...

    def accepts(self, adapter: Adapter) -> bool:
        """Whether this adapter can answer here: False when it was trained on another model or has no usable files."""
        ...

    async def model_name(self) -> str:
        """The default model's name; starts nothing heavier than it must."""
        ...

    async def complete(self, request: CompletionRequest) -> Completion:
        """Answer one request.

        Raises:
            BackendUnavailable: After all retries.
            BackendRejected: The server refused the request.
            ContextLengthError: The prompt does not fit.
        """
        ...

    async def count_tokens(self, messages: Sequence[Mapping[str, Any]]) -> int | None:
        """Return the number of prompt tokens, or None when the backend cannot say."""
        ...

    async def aclose(self) -> None:
        """Release connections and child processes."""
        ...

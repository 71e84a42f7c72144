"""What a backend takes and gives: one completion at a time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.grammar.constraint import NO_CONSTRAINT, Constraint, Kind
from engine.manifest.bundle_model import Sampling
from engine.messages import ToolSchema, Usage
from engine.models.base import Adapter


class Meter(Protocol):
    """Hears of the attempts that a request takes, since each of them may be charged."""

    async def again(self, reason: str) -> None:
        """Hear that a request is about to be sent once more, though the failed attempt may have been charged.

        Args:
            reason: Why it is sent again.

        Raises:
            LimitError: It must not be sent again.
        """
        ...


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One request.

    Attributes:
        messages: Wire messages, as the ModelPlugin built them.
        model: The model's name; None is the backend's default.
        constraint: What the reply may look like.
        sampling: How tokens are chosen.
        adapter: The LoRA adapter that answers, or None.
        tools: The tools, where the ModelPlugin leaves their declaration to the API; otherwise they are in the messages.
        tool_choice: The API's `tool_choice` beside `tools`; None sends neither.
        afresh: Nothing that the server keeps of earlier requests is used, as far as it can be asked for that, so that
            the reply does not depend on them.
        meter: Hears of each further attempt; no part of what is asked.
    """

    messages: Sequence[Mapping[str, Any]]
    model: str | None = None
    constraint: Constraint = NO_CONSTRAINT
    sampling: Sampling = field(default_factory=Sampling)
    adapter: Adapter | None = None
    tools: Sequence[ToolSchema] = ()
    tool_choice: str | None = None
    afresh: bool = False
    meter: Meter | None = field(default=None, repr=False, compare=False)


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
    def url(self) -> str:
        """What messages call it: a URL without a key, or words."""
        ...

    @property
    def concurrency(self) -> int:
        """How many requests at once it is good for."""
        ...

    def accepts(self, adapter: Adapter) -> bool:
        """Whether this adapter can answer here: False when it was trained on another model or has no usable files."""
        ...

    async def software(self) -> str:
        """What answers, with its version as far as it says; asks the server, or starts the model.

        Raises:
            BackendError: It does not answer.
        """
        ...

    async def model_name(self) -> str:
        """The default model's name; starts nothing heavier than it must."""
        ...

    async def kinds(self) -> tuple[Kind, ...]:
        """The kinds of constraint that the server can be asked for; empty where it cannot be asked for any."""
        ...

    async def spelled(self, constraint: Constraint) -> Mapping[str, Any]:
        """The fields with which a request asks this server for a constraint; nothing of it is sent.

        Raises:
            BackendRejected: The server cannot be asked for it.
        """
        ...

    async def prepare(self, adapters: Sequence[Adapter], models: Sequence[str] = ()) -> None:
        """Make adapters ready to answer before the first request.

        Args:
            adapters: Those that a run may ask for; one that was trained on another model is left alone.
            models: The names of models that a run asks for.

        Raises:
            BackendError: A model or an adapter cannot be had; the message names it and the way out.
            BundleError: An adapter's files cannot be used.
        """
        ...

    def stream(self, request: CompletionRequest) -> AsyncGenerator[str | Completion, None]:
        """Answer one request piece by piece: the text as it comes, at the end the whole Completion.

        Closing the generator (`contextlib.aclosing`) or cancelling its task closes the connection, so that the server
        stops generating.

        Raises:
            BackendError: As `complete` does; a failure after the first piece is not retried.
        """
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

"""What a model family needs: the Protocol of a ModelPlugin, and the Adapter that may sit on a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.grammar.constraint import Constraint, ConstraintOptions, Mode
from engine.grammar.schema import Problem
from engine.messages import Message, Reply, ToolCall, ToolResult, ToolSchema


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter of a bundle, resolved: files inside the bundle or a name on the server.

    Attributes:
        name: Its name in the bundle.
        peft: A PEFT folder.
        gguf: A GGUF file.
        served_name: Its name on the server.
        base: The model that it was trained on, as the bundle writes it.
        digest: sha256 of its files, hex; empty for a served name.
    """

    name: str
    peft: Path | None = None
    gguf: Path | None = None
    served_name: str | None = None
    base: str | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True)
class CallMarks:
    """By what a call in a streamed reply is known; what is certain to be none of it is passed on as text.

    Attributes:
        starts: How a call starts, wherever it stands.
        end: How a call ends; empty for calls that end with their JSON.
        json: Between start and end stands nothing but JSON, so that an end inside a string is none.
        separator: What stands between two calls and is no text; blanks may surround it.
        untagged: A reply without any of the starts may be the JSON of known tools' calls, as a whole or in fences.
    """

    starts: tuple[str, ...] = ()
    end: str = ""
    json: bool = False
    separator: str = ""
    untagged: bool = False


class ModelPlugin(Protocol):
    """Message format, tool-call wire format, parser and default strategy of a model family."""

    @property
    def name(self) -> str:
        """The name in a manifest."""
        ...

    def build_messages(
        self, prompt: str | None, system: str | None, tools: Sequence[ToolSchema], history: Sequence[Message] = ()
    ) -> list[dict[str, Any]]:
        """Return the wire messages: the system turn with the tools declared natively, the history, then the prompt."""
        ...

    def tool_choice(self, tools: Sequence[ToolSchema]) -> str | None:
        """Return the API's `tool_choice`, where the API declares the tools; None when they travel in the prompt."""
        ...

    def grammar_strategy(self) -> str:
        """Return the default strategy of the family."""
        ...

    def modes(self) -> tuple[Mode, ...]:
        """Return the grammar modes that the family supports: `auto`, then the others, the best first."""
        ...

    def constraint(self, tools: Sequence[ToolSchema], options: ConstraintOptions) -> Constraint:
        """Return the constraint of a reply that may call these tools."""
        ...

    def unheld(self, tool: ToolSchema, mode: Mode) -> list[Problem]:
        """Return what the tool's schema says and strategy typed does not hold in a mode, `auto` being the best one.

        What is refused has no constraint; the rest is checked after parsing.
        """
        ...

    def format_calls(self, calls: Sequence[ToolCall]) -> str:
        """Return the calls as the model would write them."""
        ...

    def format_result(self, result: ToolResult) -> str:
        """Return a result as the model reads it."""
        ...

    def call_marks(self) -> CallMarks:
        """Return how calls are known while a reply comes in pieces."""
        ...

    def parse_response(
        self, text: str, tools: Sequence[ToolSchema] = (), api_calls: Sequence[Mapping[str, Any]] = ()
    ) -> Reply:
        """Parse a reply; malformed calls are reported, never dropped. Calls that the API parsed keep their ids."""
        ...

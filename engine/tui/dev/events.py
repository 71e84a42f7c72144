"""What the loop tells its view: frozen facts, in the order in which they happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.diagnostics import Diagnostic
from engine.run import Rendered
from engine.tui.dev.difference import Difference
from engine.workspace import Decision

Cause = Literal["start", "bundle", "target", "again", "node"]


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node that the bundle takes in the target.

    Attributes:
        node_id: Its id.
        name: Its qualified name.
        type: function, class, …
        line: Its first line.
    """

    node_id: str
    name: str
    type: str
    line: int


@dataclass(frozen=True, slots=True)
class DevEvent:
    """What all events share."""


@dataclass(frozen=True, slots=True)
class Validated(DevEvent):
    """The bundle was read anew.

    Attributes:
        diagnostics: Everything that is wrong with what is on the disk now.
        in_force: Whether a valid bundle is in force: this one, or the last good one.
        current: Whether it is this one.
        generation: The catalog's number.
    """

    diagnostics: tuple[Diagnostic, ...]
    in_force: bool
    current: bool
    generation: int


@dataclass(frozen=True, slots=True)
class Started(DevEvent):
    """A preview began; the events up to its end belong to it."""

    number: int
    cause: Cause
    bundle: str


@dataclass(frozen=True, slots=True)
class Pinned(DevEvent):
    """The nodes that the bundle takes are known, and the pinned one is among them."""

    node: NodeRow
    place: str
    nodes: tuple[NodeRow, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeMissing(DevEvent):
    """The bundle does not take the pinned node, or it is gone; the preview ends here."""

    name: str | None
    reason: str
    nodes: tuple[NodeRow, ...]


@dataclass(frozen=True, slots=True)
class PromptRendered(DevEvent):
    """The request is known; `seconds` is the time since the save was heard of, or the key was pressed."""

    request: Rendered
    prompt: Difference
    seconds: float


@dataclass(frozen=True, slots=True)
class TurnStarted(DevEvent):
    """The model is asked."""

    turn: int
    model: str | None
    adapter: str | None


@dataclass(frozen=True, slots=True)
class Piece(DevEvent):
    """A piece of the reply."""

    text: str


@dataclass(frozen=True, slots=True)
class Replied(DevEvent):
    """The reply is complete."""

    turn: int
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ToolRan(DevEvent):
    """A tool call was answered."""

    tool: str
    arguments: Mapping[str, Any]
    content: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Finished(DevEvent):
    """The preview's task came to an end.

    Attributes:
        outcome: finished, failed or stopped.
        reason: The reason of that.
        words: The error, or the summary.
        output: All replies and tool calls, beside those of the last preview of this node.
        change: The change as a unified diff, beside that of the last preview of this node.
        offered: Number of files that can be accepted.
        turns: Number of turns.
        tokens: Tokens of all turns.
        seconds: Time of the run.
    """

    outcome: str
    reason: str
    words: str
    output: Difference = field(repr=False)
    change: Difference = field(repr=False)
    offered: int
    turns: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class NotRun(DevEvent):
    """The preview ends with the prompt, as was asked for."""


@dataclass(frozen=True, slots=True)
class Cancelled(DevEvent):
    """A newer preview took this one's place."""


@dataclass(frozen=True, slots=True)
class Failed(DevEvent):
    """The preview could not be made."""

    message: str


@dataclass(frozen=True, slots=True)
class Decided(DevEvent):
    """The change was accepted, or why not."""

    decisions: tuple[Decision, ...]


@dataclass(frozen=True, slots=True)
class Said(DevEvent):
    """Something else to know, one line."""

    text: str

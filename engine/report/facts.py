"""What a report tells: a run, its tasks, and of some tasks every turn."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.events import Used
from engine.events.used import NOTHING
from engine.workspace import OfferedChange

OUTCOMES = ("finished", "failed", "stopped", "parked", "skipped", "running", "planned")
"""The states of a task, as a report orders them."""


@dataclass(slots=True)
class Call:
    """A tool call: what was asked, and what came back; an empty `outcome` is that of a call without an answer."""

    call_id: str
    tool: str
    arguments: str
    content: str = ""
    is_error: bool = False
    outcome: str = ""
    milliseconds: float = 0.0


@dataclass(slots=True)
class Turn:
    """A reply with its tool calls.

    Attributes:
        number: From 1.
        text: The reply as it was written.
        milliseconds: How long it took.
        prompt_tokens: Of the request.
        completion_tokens: Of the reply.
        answered_by: The adapter or the model.
        finish_reason: Why it ended.
        calls: Its tool calls.
    """

    number: int
    text: str
    milliseconds: float
    prompt_tokens: int
    completion_tokens: int
    answered_by: str
    finish_reason: str
    calls: list[Call] = field(default_factory=list)


@dataclass(slots=True)
class Detail:
    """All that a report shows of one task beside its line; errors are those of its last attempt."""

    turns: list[Turn] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    changes: list[OfferedChange] = field(default_factory=list)
    more_turns: int = 0


@dataclass(slots=True)
class TaskFacts:
    """A task.

    Attributes:
        number: Its place in the report, from 1; names its anchor.
        task_id: The task.
        bundle: The bundle's name.
        node: The node's qualified name.
        file: Its file.
        line: Its first line.
        outcome: One of OUTCOMES.
        reason: Why it ended.
        error: What went wrong.
        summary: What it says about itself.
        seconds: Time on the clock.
        prompt_tokens: Of all turns.
        completion_tokens: Of all turns.
        turns: Number of turns.
        cached: Whether its result came from the cache.
        attempts: How often it was tried.
        answered_by: The adapter that answered last; empty for none.
        checks: What its checks said.
        cost: What it cost.
        spans: When it ran: seconds since 1970; an end of 0 is not known.
        added: Lines that it adds.
        removed: Lines that it takes away.
        states: The states of its changes.
        detail: Everything else, where the report shows it.
    """

    number: int
    task_id: str
    bundle: str
    node: str
    file: str
    line: int
    outcome: str = "planned"
    reason: str = ""
    error: str = ""
    summary: str = ""
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    turns: int = 0
    cached: bool = False
    attempts: int = 0
    answered_by: str = ""
    checks: Sequence[Mapping[str, Any]] = ()
    cost: float | None = None
    spans: list[tuple[float, float]] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    states: tuple[str, ...] = ()
    detail: Detail | None = None

    @property
    def kind(self) -> str:
        """Its outcome; `cached` for a finished task whose result came from the cache."""
        return "cached" if self.cached and self.outcome == "finished" else self.outcome


@dataclass(slots=True)
class Samples:
    """Measurements of replies, one entry each, by what they are grouped by."""

    milliseconds: dict[tuple[str, str], array[float]] = field(default_factory=dict)
    prompt: array[float] = field(default_factory=lambda: array("d"))
    completion: array[float] = field(default_factory=lambda: array("d"))
    speed: array[float] = field(default_factory=lambda: array("d"))
    times: array[float] = field(default_factory=lambda: array("d"))
    cached_tokens: int = 0

    def add(self, group: str, name: str, milliseconds: float) -> None:
        """Note how long a reply took, for one of its groups."""
        self.milliseconds.setdefault((group, name), array("d")).append(milliseconds)


@dataclass(slots=True)
class ToolUse:
    """How a tool did."""

    calls: int = 0
    errors: int = 0
    milliseconds: array[float] = field(default_factory=lambda: array("d"))


@dataclass(slots=True)
class RunFacts:
    """A run.

    Attributes:
        run_id: Its id.
        status: Its status.
        started: Seconds since 1970.
        ended: Seconds since 1970: of its end, or of its last event.
        bundles: The names of its bundles.
        targets: What was named.
        settings: What the command line resolved to.
        request: What was asked for.
        digests: The content of each bundle.
        notes: What was left out, and why.
        files: Files that were read to plan it.
        nodes: Nodes that were found.
        used: What all tries of its tasks used.
        cost: What that cost; None where a price is missing.
        parts: When it ran; several for a run that was gone on with.
        pace: When the number of requests at once changed: time, limit, reason.
        tasks: Its tasks, in the order of the plan.
        samples: Measurements of its replies.
        tools: How its tools did.
        changes: Its changes by state.
        detailed: How many tasks have details.
    """

    run_id: str
    status: str
    started: float
    ended: float
    bundles: Sequence[str] = ()
    targets: Sequence[str] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    request: dict[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    nodes: int = 0
    used: Used = NOTHING
    cost: float | None = None
    parts: list[tuple[float, float]] = field(default_factory=list)
    pace: list[tuple[float, int, str]] = field(default_factory=list)
    tasks: list[TaskFacts] = field(default_factory=list)
    samples: Samples = field(default_factory=Samples)
    tools: dict[str, ToolUse] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)

    @property
    def outcomes(self) -> Counter[str]:
        """Number of tasks by outcome."""
        return Counter(task.outcome for task in self.tasks)

    @property
    def seconds(self) -> float:
        """Time on the clock, without the pauses between parts."""
        return sum(end - start for start, end in self.parts)

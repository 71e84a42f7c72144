"""The typed events: frozen facts in the past tense. `type` is the wire name, `method` the Observer's method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from engine.messages import Usage

_NONE = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events share; the EventLog adds `seq` and `time`.

    Attributes:
        run_id: The run; empty for a kernel that runs on its own.
        task_id: The task; empty for facts about the whole run.
    """

    type: ClassVar[str] = "event"
    method: ClassVar[str] = "on_event"
    run_id: str = ""
    task_id: str = ""

    def payload(self) -> dict[str, Any]:
        """Return the fields by name, without `run_id` and `task_id`; nothing is copied but the token counts."""
        kind = type(self)
        names = _NAMES.get(kind)
        if names is None:
            names = _NAMES[kind] = tuple(each.name for each in fields(kind) if each.name not in {"run_id", "task_id"})
        data = {name: getattr(self, name) for name in names}
        usage = data.get("usage")
        if usage is not None:
            data["usage"] = {name: getattr(usage, name) for name in _COUNTS}
        return data


_NAMES: dict[type[Event], tuple[str, ...]] = {}
_COUNTS = tuple(each.name for each in fields(Usage))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """A run began.

    Attributes:
        bundles: Their names.
        targets: What was named, as given.
        settings: What the command line resolved to.
        request: Everything that was asked for, so that the run can be gone on with.
        digests: The content of each bundle, by its name.
    """

    type: ClassVar[str] = "run:started"
    method: ClassVar[str] = "on_run_start"
    bundles: tuple[str, ...]
    targets: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResumed(Event):
    """A run that had ended early goes on; `done` tasks are not repeated, `left` tasks remain.

    Attributes:
        done: Tasks that ended before.
        left: Tasks that remain.
        notes: What a person should know, such as a bundle that is another one now.
        budget: What the whole run may use from now on, the limits of engine.yaml included; None where nobody said.
        given: What of it was asked for, now or before, and holds again when the run is gone on with once more.
    """

    type: ClassVar[str] = "run:resumed"
    method: ClassVar[str] = "on_run_resume"
    done: int
    left: int
    notes: tuple[str, ...] = ()
    budget: Mapping[str, float] | None = None
    given: Mapping[str, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaceChanged(Event):
    """The number of requests at once was adapted to the server: `limit` from now on, 0 while it is given a rest."""

    type: ClassVar[str] = "pace:changed"
    method: ClassVar[str] = "on_pace_change"
    limit: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlanned(Event):
    """Discovery is done; `notes` says what was left out and why, `cached` how many tasks the cache is known to have."""

    type: ClassVar[str] = "run:planned"
    method: ClassVar[str] = "on_run_plan"
    files: int
    nodes: int
    tasks: int
    notes: tuple[str, ...] = ()
    cached: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """A run ended, or this part of one that is gone on with later.

    Attributes:
        status: finished, failed, stopped or interrupted.
        finished: Tasks that finished, those from the cache included.
        failed: Tasks that failed.
        stopped: Tasks that were stopped.
        changes: Changes offered.
        seconds: Time on the clock.
        usage: Tokens of this run; what the cache saved is not in it.
        skipped: Tasks that were not tried, since one that they come after did not finish.
        cached: Tasks whose result came from the cache.
        cost: What the tokens cost at the declared prices; None where a price is missing.
    """

    type: ClassVar[str] = "run:finished"
    method: ClassVar[str] = "on_run_end"
    status: str
    finished: int
    failed: int
    stopped: int
    changes: int
    seconds: float
    usage: Usage = _NONE
    skipped: int = 0
    cached: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStarted(Event):
    """A task began."""

    type: ClassVar[str] = "task:started"
    method: ClassVar[str] = "on_task_start"
    bundle: str
    node_id: str
    node: str
    file: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFinished(Event):
    """A task ended.

    Attributes:
        bundle: The bundle's name.
        node_id: The node's id.
        node: Its qualified name.
        file: Its file.
        line: Its first line.
        outcome: finished, failed, stopped, parked or skipped.
        reason: Why it ended.
        error: What went wrong, one line.
        summary: What the task says about itself.
        changed_files: The files of its offered changes.
        turns: Number of turns.
        seconds: Time on the clock.
        usage: Tokens of all turns; those of the first time where the result is `cached`.
        adapter: The adapter that answered last.
        cached: The result came from the cache; no model was called.
        attempts: How often it was tried.
        checks: What the bundle's checks said: `{file, check, passed, detail}` each.
        cost: What its tokens cost at the declared prices; None where a price is missing.
    """

    type: ClassVar[str] = "task:finished"
    method: ClassVar[str] = "on_task_end"
    bundle: str
    node_id: str
    node: str
    file: str
    line: int
    outcome: str
    reason: str
    error: str | None = None
    summary: str = ""
    changed_files: tuple[str, ...] = ()
    turns: int = 0
    seconds: float = 0.0
    usage: Usage = _NONE
    adapter: str | None = None
    cached: bool = False
    attempts: int = 1
    checks: tuple[Mapping[str, Any], ...] = ()
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStarted(Event):
    """A turn loop began."""

    type: ClassVar[str] = "kernel:started"
    method: ClassVar[str] = "on_kernel_start"
    max_turns: int
    tools_count: int
    initial_messages_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequested(Event):
    """A request is about to be sent; `messages` is exactly what the server gets.

    `reserved` is what it may use at most; nothing where no limit holds.
    """

    type: ClassVar[str] = "model:requested"
    method: ClassVar[str] = "on_model_request"
    turn: int
    model: str | None
    adapter: str | None
    constraint: str
    messages: tuple[Mapping[str, Any], ...]
    reserved: Usage = _NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponded(Event):
    """A reply arrived; `cost` is what its tokens cost, where the price is declared."""

    type: ClassVar[str] = "model:responded"
    method: ClassVar[str] = "on_model_response"
    turn: int
    model: str
    adapter: str | None
    text: str
    tool_calls_count: int
    finish_reason: str
    usage: Usage
    duration_ms: float
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyLost(Event):
    """A request got no reply that can be used, and the server may have charged for it: `usage`, at most."""

    type: ClassVar[str] = "model:lost"
    method: ClassVar[str] = "on_reply_lost"
    turn: int
    model: str | None
    adapter: str | None
    usage: Usage
    reason: str
    cost: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled(Event):
    """A tool is about to run."""

    type: ClassVar[str] = "tool:called"
    method: ClassVar[str] = "on_tool_call"
    turn: int
    call_id: str
    tool: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReturned(Event):
    """A tool answered; `content` is what the model reads."""

    type: ClassVar[str] = "tool:returned"
    method: ClassVar[str] = "on_tool_result"
    turn: int
    call_id: str
    tool: str
    content: str
    is_error: bool
    summary: str
    outcome: str
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnCompleted(Event):
    """A reply and all its tool calls are done."""

    type: ClassVar[str] = "turn:completed"
    method: ClassVar[str] = "on_turn_complete"
    turn: int
    tool_calls_count: int
    errors_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEnded(Event):
    """A turn loop ended."""

    type: ClassVar[str] = "kernel:ended"
    method: ClassVar[str] = "on_kernel_end"
    turn_count: int
    termination_reason: str
    duration_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorOccurred(Event):
    """Something failed; the task's outcome follows."""

    type: ClassVar[str] = "error:occurred"
    method: ClassVar[str] = "on_error"
    error_type: str
    message: str
    turn: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeOffered(Event):
    """A change waits for review; `passed` says whether it passed its checks."""

    type: ClassVar[str] = "change:offered"
    method: ClassVar[str] = "on_change_offer"
    file: str
    kind: str
    added: int
    removed: int
    passed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeDecided(Event):
    """A change was accepted, rejected, undone, edited by a person, found in conflict, or refused for its file."""

    type: ClassVar[str] = "change:decided"
    method: ClassVar[str] = "on_change_decision"
    file: str
    decision: str
    reason: str = ""


EVENT_TYPES: dict[str, type[Event]] = {kind.type: kind for kind in Event.__subclasses__()}
"""The kinds of events by their wire names."""

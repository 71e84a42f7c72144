"""The events room: typed facts, who hears of them, and the log that keeps them."""

from engine.events.choose import EventFilter, TaskNames
from engine.events.encode import event_to_json
from engine.events.follow import Follower
from engine.events.log import EventLog
from engine.events.observer import Bus, Observer
from engine.events.reader import LogReader
from engine.events.records import TASK_STATES, RunRecord, StoredEvent, TaskRow, TaskSum
from engine.events.types import (
    EVENT_TYPES,
    ChangeDecided,
    ChangeOffered,
    ErrorOccurred,
    Event,
    KernelEnded,
    KernelStarted,
    ModelRequested,
    ModelResponded,
    PaceChanged,
    ReplyLost,
    RunFinished,
    RunPlanned,
    RunResumed,
    RunStarted,
    TaskFinished,
    TaskStarted,
    ToolCalled,
    ToolReturned,
    TurnCompleted,
)
from engine.events.used import Used

__all__ = [
    "EVENT_TYPES",
    "TASK_STATES",
    "Bus",
    "ChangeDecided",
    "ChangeOffered",
    "ErrorOccurred",
    "Event",
    "EventFilter",
    "EventLog",
    "Follower",
    "KernelEnded",
    "KernelStarted",
    "LogReader",
    "ModelRequested",
    "ModelResponded",
    "Observer",
    "PaceChanged",
    "ReplyLost",
    "RunFinished",
    "RunPlanned",
    "RunRecord",
    "RunResumed",
    "RunStarted",
    "StoredEvent",
    "TaskFinished",
    "TaskNames",
    "TaskRow",
    "TaskStarted",
    "TaskSum",
    "ToolCalled",
    "ToolReturned",
    "TurnCompleted",
    "Used",
    "event_to_json",
]

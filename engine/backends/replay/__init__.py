"""Replies that are recorded once and replayed offline."""

from engine.backends.replay.difference import difference
from engine.backends.replay.file import dump_tape, file_name, load_tape, write_tape
from engine.backends.replay.player import ReplayBackend
from engine.backends.replay.recorder import RecordingBackend
from engine.backends.replay.tape import Label, Tape

__all__ = [
    "Label",
    "RecordingBackend",
    "ReplayBackend",
    "Tape",
    "difference",
    "dump_tape",
    "file_name",
    "load_tape",
    "write_tape",
]

"""Which task of a run starts next, and how often it is tried."""

from engine.run.schedule.attempts import SERVER, Attempts
from engine.run.schedule.timetable import OnFailure, Timetable

__all__ = ["SERVER", "Attempts", "OnFailure", "Timetable"]

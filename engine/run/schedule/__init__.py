"""Which task of a run starts next, how often it is tried, and what it starts from."""

from engine.run.schedule.attempts import SERVER, Attempts
from engine.run.schedule.stacking import Stacked, tasks_before
from engine.run.schedule.timetable import OnFailure, Timetable

__all__ = ["SERVER", "Attempts", "OnFailure", "Stacked", "Timetable", "tasks_before"]

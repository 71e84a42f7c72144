"""Which task of a run starts next."""

from engine.run.schedule.timetable import OnFailure, Timetable

__all__ = ["OnFailure", "Timetable"]

"""The run room: plan, execute, check, offer, review."""

from engine.run.execute import RunResult
from engine.run.plan import Assignment, Task, make_tasks, matches
from engine.run.render import Rendered
from engine.run.review import Review
from engine.run.root import find_root
from engine.run.session import Mirror, Plan, RunSettings, Session
from engine.run.stage import Services
from engine.run.task import TaskResult

__all__ = [
    "Assignment",
    "Mirror",
    "Plan",
    "Rendered",
    "Review",
    "RunResult",
    "RunSettings",
    "Services",
    "Session",
    "Task",
    "TaskResult",
    "find_root",
    "make_tasks",
    "matches",
]

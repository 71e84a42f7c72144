"""The run room: plan, execute, check, offer, review."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.lazy import lazy

if TYPE_CHECKING:
    from engine.run.offering import Mirror
    from engine.run.plan import Assignment, Task, make_tasks, matches
    from engine.run.render import Rendered
    from engine.run.results import RunResult
    from engine.run.review import Review
    from engine.run.root import find_root
    from engine.run.routing import grouped
    from engine.run.run_plan import Plan, RunSettings
    from engine.run.session import Session
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
    "grouped",
    "make_tasks",
    "matches",
]

# Loaded on first use: a review needs neither the kernel nor the backends.

__getattr__ = lazy(
    __name__,
    {
        "offering": ("Mirror",),
        "plan": ("Assignment", "Task", "make_tasks", "matches"),
        "render": ("Rendered",),
        "results": ("RunResult",),
        "review": ("Review",),
        "root": ("find_root",),
        "routing": ("grouped",),
        "run_plan": ("Plan", "RunSettings"),
        "session": ("Session",),
        "stage": ("Services",),
        "task": ("TaskResult",),
    },
)

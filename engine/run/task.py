"""One task: a bundle on a node, from the prompt to checked changes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from engine.errors import EngineError
from engine.events import Bus
from engine.grammar.constraint import ConstraintOptions
from engine.kernel import Kernel, KernelConfig, KernelResult
from engine.messages import Usage
from engine.run.cache.record import Record, make_record
from engine.run.checks import CheckResult, run_checks
from engine.run.plan import Task
from engine.run.stage import Services, Stage
from engine.workspace import Change

FINISHED = {"termination_tool", "no_call"}
BUDGET = frozenset({"budget_tokens", "budget_cost", "budget_tool_calls"})
"""Why a task was stopped that could have gone on, had the run more to use."""
STOPPED = {"limit_tokens", "limit_cost", "limit_tool_calls", "limit_seconds", "cancelled", *BUDGET}


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a task.

    Attributes:
        task: The task.
        outcome: finished, failed or stopped.
        reason: The kernel's termination reason, or `checks`.
        error: What went wrong, one line; None when nothing did.
        summary: What the task says about itself.
        changes: What it offers; where it failed for its `checks`, a person decides whether to take it all the same.
        turns: Number of turns.
        usage: Tokens of all turns.
        seconds: Time on the clock.
        adapter: The adapter that answered last, by its name in the bundle.
        checks: What the bundle's checks said.
        cached: The result came from the cache.
        attempts: How often the task was tried.
        cost: What its tokens cost at the declared prices; None where a price is missing.
        record: What it read and wrote, for the cache; None where the result is not one to keep.
    """

    task: Task
    outcome: str
    reason: str
    error: str | None = None
    summary: str = ""
    changes: Sequence[Change] = ()
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    adapter: str | None = None
    checks: tuple[CheckResult, ...] = ()
    cached: bool = False
    attempts: int = 1
    cost: float | None = None
    record: Record | None = field(default=None, repr=False)


async def run_task(task: Task, services: Services, bus: Bus, run_id: str) -> TaskResult:
    """Run one task; every failure becomes its result, only cancellation passes through.

    Args:
        task: The task.
        services: What the tasks of the run share.
        bus: Gets the kernel's events.
        run_id: Stamped on the events.
    """
    started = time.monotonic()
    try:
        async with Stage(task, services) as stage:
            result = await _run(stage, bus, run_id)
    except (EngineError, OSError) as exc:
        result = TaskResult(task, "failed", "error", error=str(exc))
    return replace(result, seconds=round(time.monotonic() - started, 3))


async def _run(stage: Stage, bus: Bus, run_id: str) -> TaskResult:
    bundle = stage.task.bundle
    prompt = await stage.prompt()
    kernel = Kernel(
        replace(kernel_config(stage.task, run_id), budget=stage.services.budget, prices=stage.services.prices),
        plugin=stage.task.assignment.plugin,
        tools=stage.tools(),
        observer=bus,
        backend=stage.services.backend,
        environment=stage.environment(),
    )
    loop = bundle.manifest.loop
    outcome = await kernel.run(
        prompt,
        bundle.tool_schemas,
        max_turns=loop.max_turns,
        termination=loop.termination_tool,
        context_provider=TurnContext(stage),
    )
    return await _result(stage, outcome)


def kernel_config(task: Task, run_id: str) -> KernelConfig:
    """Return the kernel's settings for a task."""
    manifest, assignment = task.bundle.manifest, task.assignment
    sampling = manifest.model.sampling
    if assignment.seed is not None:
        sampling = sampling.model_copy(update={"seed": assignment.seed})
    return KernelConfig(
        model=assignment.model,
        adapters=tuple(task.bundle.adapters.values()) if assignment.adapters else (),
        sampling=sampling,
        history=manifest.loop.history,
        on_no_call=manifest.loop.on_no_call,
        options=ConstraintOptions("none") if assignment.unconstrained else task.bundle.constraint_options(),
        limits=manifest.limits,
        run_id=run_id,
        task_id=task.task_id,
    )


async def _result(stage: Stage, outcome: KernelResult) -> TaskResult:
    reason: str = outcome.termination_reason
    error = outcome.error
    kind = "finished" if reason in FINISHED else "stopped" if reason in STOPPED else "failed"
    changes = tuple(stage.workspace.changes()) if kind == "finished" else ()
    checks = await run_checks(stage.task.bundle.manifest.checks, changes, stage.commands)
    if not all(check.passed for check in checks):
        kind, reason, error = "failed", "checks", "; ".join(check.detail for check in checks if not check.passed)
    final = outcome.final_tool_result
    return TaskResult(
        stage.task,
        kind,
        reason,
        error=error,
        summary=stage.submission.summary or (final.summary if final else "") or outcome.text,
        changes=changes,
        turns=outcome.turn_count,
        usage=outcome.usage,
        adapter=outcome.adapter,
        record=_record(stage, changes) if kind == "finished" else None,
        cost=outcome.cost,
        checks=checks,
    )


def _record(stage: Stage, changes: Sequence[Change]) -> Record | None:
    recorded = stage.services.recorded
    return make_record(stage.workspace, stage.editor, changes, stage.task.base) if recorded else None


class TurnContext:
    """The kernel's context provider: renews `each: turn` context and chooses who answers each turn."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    async def __call__(self, turn: int, last_tools: Sequence[str]) -> Mapping[str, Any]:
        """Return who answers the turn and, where context is renewed each turn, the first messages anew."""
        stage = self._stage
        stage.variables["turn"] = turn
        update: dict[str, Any] = {}
        if turn > 1 and stage.task.bundle.has_turn_context:
            update["prompt"] = await stage.prompt("turn")
        return update | stage.router.answers(stage.variables, last_tools)

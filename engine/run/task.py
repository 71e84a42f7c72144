"""One task: a bundle on a node, from the prompt to checked changes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.backends import Backend
from engine.errors import EngineError
from engine.events import Observer
from engine.kernel import Kernel, KernelConfig, KernelResult
from engine.messages import Usage
from engine.run.checks import failed_checks
from engine.run.externals import Submission, make_externals
from engine.run.plan import Task
from engine.run.routing import Router
from engine.run.variables import task_variables
from engine.tools import ScriptRunner, ToolEnvironment
from engine.workspace import Change, CommandRunner, Workspace

FINISHED = {"termination_tool", "no_call"}
STOPPED = {"limit_tokens", "limit_tool_calls", "limit_seconds", "cancelled"}


@dataclass(frozen=True, slots=True)
class Services:
    """What all tasks of a run share."""

    root: Path
    backend: Backend
    scripts: ScriptRunner
    concurrent_tools: int = 10


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a task.

    Attributes:
        task: The task.
        outcome: finished, failed, stopped (or, later, parked).
        reason: The kernel's termination reason, `checks` or `error`.
        error: What went wrong, one line; None when nothing did.
        summary: What the task says about itself.
        changes: Changes that passed the checks.
        turns: Number of turns.
        usage: Tokens of all turns.
        seconds: Time on the clock.
        adapter: The adapter that answered last.
    """

    task: Task
    outcome: str
    reason: str
    error: str | None = None
    summary: str = ""
    changes: tuple[Change, ...] = ()
    turns: int = 0
    usage: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    adapter: str | None = None


async def run_task(task: Task, services: Services, observer: Observer | None) -> TaskResult:
    """Run one task; every failure becomes its result, only cancellation passes through."""
    started = time.monotonic()
    try:
        async with _Stage(task, services) as stage:
            result = await stage.run(observer)
    except EngineError as exc:
        result = TaskResult(task, "failed", "error", error=str(exc))
    return _replace_seconds(result, time.monotonic() - started)


def _replace_seconds(result: TaskResult, seconds: float) -> TaskResult:
    from dataclasses import replace

    return replace(result, seconds=round(seconds, 3))


class _Stage(contextlib.AbstractAsyncContextManager["_Stage"]):
    """The workspace, commands and externals of one task, released at its end."""

    def __init__(self, task: Task, services: Services) -> None:
        self.task, self.services = task, services
        manifest = task.bundle.manifest
        self.workspace = Workspace(services.root, manifest.permissions)
        self.commands = CommandRunner(self.workspace, manifest.permissions.run)
        self.submission = Submission()
        self.externals = make_externals(self.workspace, task.node, self.commands, self.submission)

    async def __aexit__(self, *_: object) -> None:
        await self.commands.aclose()

    async def run(self, observer: Observer | None) -> TaskResult:
        """Render, loop, check."""
        bundle, router = self.task.bundle, Router(self.task, self.services.backend)
        context = await bundle.run_context(self.services.scripts, self.externals, each="run")
        variables = task_variables(self.task, context, adapter=router.default_name)
        kernel = Kernel(
            self._config(),
            plugin=self.task.assignment.plugin,
            tools=bundle.make_tools(self.services.scripts),
            observer=observer,
            backend=self.services.backend,
            environment=ToolEnvironment(bundle.bound_inputs(variables), self.externals, context),
        )
        loop = bundle.manifest.loop
        provider = TurnContext(self, router, variables)
        outcome = await kernel.run(
            bundle.render_prompt(variables),
            bundle.tool_schemas,
            max_turns=loop.max_turns,
            termination=loop.termination_tool,
            context_provider=provider,
        )
        return await self._finish(outcome, provider.adapter_name)

    def _config(self) -> KernelConfig:
        manifest, assignment = self.task.bundle.manifest, self.task.assignment
        sampling = manifest.model.sampling
        if assignment.seed is not None:
            sampling = sampling.model_copy(update={"seed": assignment.seed})
        return KernelConfig(
            model=assignment.model,
            sampling=sampling,
            history=manifest.loop.history,
            on_no_call=manifest.loop.on_no_call,
            options=self.task.bundle.constraint_options(),
            limits=manifest.limits,
            max_concurrent_tools=self.services.concurrent_tools,
        )

    async def _finish(self, outcome: KernelResult, adapter: str | None) -> TaskResult:
        reason = outcome.termination_reason
        kind = "finished" if reason in FINISHED else "stopped" if reason in STOPPED else "failed"
        error, changes = outcome.error, tuple(await asyncio.to_thread(self.workspace.changes))
        if kind == "finished":
            problems = await failed_checks(self.task.bundle.manifest.checks, changes, self.commands)
            if problems:
                kind, reason, error = "failed", "checks", "; ".join(problems)
        return TaskResult(
            self.task,
            kind,
            reason,
            error=error,
            summary=self._summary(outcome),
            changes=changes if kind == "finished" else (),
            turns=outcome.turn_count,
            usage=outcome.usage,
            adapter=adapter,
        )

    def _summary(self, outcome: KernelResult) -> str:
        final = outcome.final_tool_result
        return self.submission.summary or (final.summary if final else "") or outcome.text


class TurnContext:
    """The kernel's context provider: chooses the adapter of each turn and refreshes `each: turn` context."""

    def __init__(self, stage: _Stage, router: Router, variables: dict[str, Any]) -> None:
        self._stage, self._router, self._variables = stage, router, variables
        self.adapter_name: str | None = None

    async def __call__(self, turn: int, last_tools: tuple[str, ...] = ()) -> Mapping[str, Any]:
        """Return the turn's adapter and, where context is renewed each turn, the prompt anew."""
        bundle, stage = self._stage.task.bundle, self._stage
        self._variables["turn"] = turn
        adapter = self._router.choose(self._variables, last_tools)
        self.adapter_name = adapter.name if adapter else None
        update: dict[str, Any] = {"adapter": adapter}
        if bundle.has_turn_context:
            fresh = await bundle.run_context(stage.services.scripts, stage.externals, each="turn")
            self._variables["context"] = {**self._variables["context"], **fresh}
            update["prompt"] = bundle.render_prompt(self._variables)
        return update

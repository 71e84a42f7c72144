"""What one task works with: its workspace, commands, externals, context and prompt."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.backends import Backend
from engine.kernel import Prices, SharedBudget
from engine.messages import Message
from engine.run.editor import NodeEditor
from engine.run.externals import Submission, make_externals
from engine.run.note import with_note
from engine.run.plan import Task
from engine.run.routing import Router
from engine.run.tools import with_context
from engine.run.variables import task_variables
from engine.tools import ScriptRunner, Tool, ToolEnvironment
from engine.workspace import CommandRunner, Workspace


@dataclass(frozen=True, slots=True)
class Services:
    """What all tasks of a run share.

    Attributes:
        root: The project's root.
        backend: Where completions come from.
        scripts: Runs `.pym` scripts.
        budget: What they may use together; None sets no limit.
        prices: What tokens cost; None where nothing is declared.
        recorded: Whether results say what they depend on, for the cache.
    """

    root: Path
    backend: Backend
    scripts: ScriptRunner
    budget: SharedBudget | None = None
    prices: Prices | None = None
    recorded: bool = True


class Stage(contextlib.AbstractAsyncContextManager["Stage"]):
    """Everything of one task that must be released at its end."""

    def __init__(self, task: Task, services: Services) -> None:
        self.task, self.services = task, services
        permissions = task.bundle.manifest.permissions
        self.workspace = Workspace(services.root, permissions)
        self.workspace.build_on(task.base)
        self.commands = CommandRunner(self.workspace, permissions.run)
        self.submission = Submission()
        self.router = Router(task, services.backend)
        self.editor = NodeEditor(self.workspace, task.node)
        self.externals = make_externals(self.workspace, self.editor, self.commands, self.submission)
        self.variables: dict[str, Any] = task_variables(task, {}, adapter=self.router.default_name)

    async def __aexit__(self, *_: object) -> None:
        await self.commands.aclose()

    async def prompt(self, each: Literal["run", "turn"] = "run") -> list[Message]:
        """Run the context providers (`turn`: only those renewed before each turn) and render the first messages."""
        bundle = self.task.bundle
        fresh = await bundle.run_context(self.services.scripts, self.externals, each=each, inputs=self.variables)
        self.variables["context"] = {**self.variables["context"], **fresh}
        return with_note(bundle.render_prompt(self.variables), self.task.note)

    def environment(self) -> ToolEnvironment:
        """Return what the engine gives to each call."""
        return ToolEnvironment(self.task.bundle.bound_inputs(self.variables), self.externals)

    def tools(self) -> Sequence[Tool]:
        """Return the bundle's tools, with context appended to their results where the manifest asks for it."""
        bundle = self.task.bundle
        tools = bundle.make_tools(self.services.scripts)
        return with_context(tools, {tool.schema.name: tool.spec.context for tool in bundle.tools}, self.variables)

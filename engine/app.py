"""Composition root: settings → bundles, backend, event log, change store; the only place that wires rooms."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.backends import Backend
from engine.bundle import Bundle, load_bundle
from engine.discovery import Discovery, discover_async
from engine.errors import ConfigError
from engine.events import Bus, EventLog, Observer, RunPlanned, RunStarted
from engine.manifest import EngineConfig, load_engine_config
from engine.run import Assignment, Executor, RunResult, Services, Task, TaskResult, make_tasks, run_finished
from engine.tools import ScriptRunner
from engine.workspace import ChangeStore

STATE = ".engine"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a person asks of a run; None leaves the choice to engine.yaml, the bundle or the backend.

    Attributes:
        bundles: Paths of bundles, or names below the project's bundle folder.
        targets: Files and folders.
        params: Values of the bundles' params.
        model: A model's name, a name of `engine models list` or a GGUF file.
        adapter: The adapter that answers by default; `none` switches adapters off.
        plugin: The model family.
        base_url: A server to use instead of the configured backend.
        concurrency: Tasks at once.
        seed: The sampling seed.
        nodes: Globs of nodes.
        limit: Upper bound of tasks.
    """

    bundles: Sequence[str | Path | Bundle]
    targets: Sequence[str | Path]
    params: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None
    adapter: str | None = None
    plugin: str | None = None
    base_url: str | None = None
    concurrency: int | None = None
    seed: int | None = None
    nodes: Sequence[str] = ()
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is going to do."""

    assignments: tuple[Assignment, ...]
    discovery: Discovery
    tasks: tuple[Task, ...]


class App:
    """A project with its settings, event log and change store.

    Args:
        root: The project's root; targets lie below it, and `.engine/` is made there when something runs.
        config: The project's engine.yaml.
    """

    def __init__(self, root: Path, config: EngineConfig) -> None:
        self.root, self.config = root.resolve(), config

    @classmethod
    def open(cls, project: Path | None = None, targets: Sequence[str | Path] = ()) -> App:
        """Find the project: as given, else around the working directory, else around the targets."""
        root = project.resolve() if project else find_root(Path.cwd(), targets)
        config, _ = load_engine_config(root, None, os.environ)
        return cls(root, config)

    @property
    def state(self) -> Path:
        """The folder of the event log and the changes."""
        return self.root / STATE

    def changes(self) -> ChangeStore:
        """Open the change store."""
        return ChangeStore(self.root)

    def log(self) -> EventLog:
        """Open the event log."""
        return EventLog(self.state / "events.db")

    def bundle(self, source: str | Path | Bundle) -> Bundle:
        """Load a bundle by path, or by name from the project's bundle folder."""
        if isinstance(source, Bundle):
            return source
        named = self.root / self.config.bundles / str(source)
        return load_bundle(named if not Path(source).exists() and named.exists() else source)

    async def plan(self, request: RunRequest, backend: Backend, bundles: Sequence[Bundle]) -> Plan:
        """Discover the nodes and assign them to the bundles."""
        languages = {language for bundle in bundles for language in bundle.manifest.nodes.languages}
        every = all(bundle.manifest.nodes.languages for bundle in bundles)
        discovery = await discover_async(request.targets, root=self.root, languages=sorted(languages) if every else None)
        assignments = tuple(self.assignment(bundle, request, backend) for bundle in bundles)
        tasks = make_tasks(assignments, discovery.nodes, patterns=request.nodes, limit=request.limit)
        return Plan(assignments, discovery, tuple(tasks))

    def assignment(self, bundle: Bundle, request: RunRequest, backend: Backend) -> Assignment:
        """Resolve a bundle's settings: command line, then engine.yaml's operation, then the bundle."""
        operation = next((op for op in self.config.operations.values() if op.bundle == bundle.name), None)
        spec = bundle.manifest.model
        plugin = request.plugin or (operation.plugin if operation else None) or getattr(backend, "plugin", None)
        adapter = request.adapter or spec.adapter
        if adapter not in (None, "none") and adapter not in bundle.adapters:
            raise ConfigError(f"bundle '{bundle.name}' has no adapter '{adapter}'; it has: {', '.join(bundle.adapters)}")
        return Assignment(
            bundle,
            bundle.get_plugin(plugin),
            bundle.resolve_params({**(operation.params if operation else {}), **request.params}),
            model=request.model or (operation.model if operation else None) or spec.id,
            adapter=None if adapter == "none" else adapter,
            seed=request.seed,
        )

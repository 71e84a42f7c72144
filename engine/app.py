"""Composition root: settings → bundles, backend, event log, change store; the only place that wires rooms."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ConfigError, MissingExtraError
from engine.events import EventLog, LogReader
from engine.run.root import find_root

# Rooms are imported where they are wired: looking at runs and changes needs no model, manifest or sandbox.
if TYPE_CHECKING:
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.discovery import CodeNode, Discovery
    from engine.manifest import EngineConfig
    from engine.manifest.engine_model import Operation
    from engine.run import Assignment, Plan, Review, RunResult, RunSettings, Session
    from engine.run.doctor import Check
    from engine.run.enforcement import Enforcer
    from engine.run.testing import CasesRequest, Runner, Subject

Fetch = Callable[[str], object]
"""Downloads known weights by name, if they are not here."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a person asks of a run; None leaves the choice to engine.yaml, the bundle or the backend.

    Attributes:
        bundles: Paths of bundles, names below the project's bundle folder, or loaded bundles.
        targets: Files and folders.
        params: Values of the bundles' params.
        model: A model's name, a name of `engine models list` or a GGUF file.
        adapter: The adapter that answers by default; `none` switches adapters off.
        plugin: The model family.
        base_url: A server to use instead of the configured backend.
        concurrency: Tasks at once.
        seed: The sampling seed.
        nodes: Globs of nodes.
        limit: Upper bound of tasks: the first in the order of the nodes, whatever order they then run in.
        allow_unconstrained: Run even where the declared constraint is not in force.
        hold: Leave every change waiting, also where engine.yaml says `auto_accept`.
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
    allow_unconstrained: bool = False
    hold: bool = False


class App:
    """A project with its settings, event log and change store.

    Args:
        root: The project's root; targets lie below it, and `.engine/` is made there when something runs.
        config: The project's settings; by default what engine.yaml and the environment say.
        log: The event log's file, if not the project's own.
    """

    def __init__(self, root: Path, config: EngineConfig | None = None, *, log: Path | None = None) -> None:
        self.root, self._config = root.resolve(), config
        self._log = log or self.root / ".engine" / "events.db"

    @classmethod
    def open(cls, project: Path | None = None, targets: Sequence[str | Path] = (), *, log: Path | None = None) -> App:
        """Find the project: as given, else around the working directory, else around the targets."""
        return cls(find_root(project, targets), log=log)

    @cached_property
    def config(self) -> EngineConfig:
        """The project's settings.

        Raises:
            ConfigError: engine.yaml or a variable is wrong.
        """
        from engine.manifest import load_engine_config

        return self._config or load_engine_config(self.root, None, os.environ)[0]

    def bundle(self, source: str | Path | Bundle) -> Bundle:
        """Load a bundle by path, or by name from the project's bundle folder."""
        from engine.bundle import Bundle, load_bundle

        return source if isinstance(source, Bundle) else load_bundle(self.locate(source))

    def locate(self, source: str | Path) -> str | Path:
        """Return a bundle's path: as given, or that of the name in the project's bundle folder."""
        named = self.root / self.config.bundles / str(source)
        return named if not Path(source).exists() and named.exists() else source

    def log(self) -> EventLog:
        """Open the event log."""
        return EventLog(self._log)

    def reader(self) -> LogReader:
        """Open the event log for reading; nothing is made."""
        return LogReader(self._log)

    def review(self, run_id: str | None = None) -> Review:
        """Open the changes of a run; without an id, of the newest.

        Raises:
            ConfigError: There is no such run.
        """
        from engine.run import Review
        from engine.workspace import ChangeStore

        with self.reader() as log:
            return Review(self.root, ChangeStore(self.root), log.resolve(run_id))

    @contextlib.asynccontextmanager
    async def session(
        self,
        request: RunRequest,
        *,
        backend: Backend | None = None,
        fetch: Fetch | None = None,
        enforcer: Enforcer | None = None,
    ) -> AsyncIterator[Session]:
        """Plan a run and have everything ready for it; nothing is written before `Session.run`.

        Args:
            request: What to run.
            backend: A backend to use instead of the configured one; it stays open.
            fetch: Downloads missing weights; without it, missing weights only allow to plan and render.
            enforcer: Remembers which constraints of `backend` were seen in force, from session to session.
        """
        from engine.run import Services, Session
        from engine.tools import ScriptRunner
        from engine.workspace import ChangeStore

        bundles = [await asyncio.to_thread(self.bundle, source) for source in request.bundles]
        used = backend or self.backend(request, bundles, fetch)
        async with contextlib.AsyncExitStack() as stack:
            if backend is None:
                stack.push_async_callback(used.aclose)
            scripts = await stack.enter_async_context(ScriptRunner())
            services = Services(self.root, used, scripts)
            plan = await self.plan(request, bundles, used)
            yield Session(plan, services, self._settings(request, used), self.log, ChangeStore, enforcer=enforcer)

    def examine(self, request: RunRequest) -> AsyncIterator[Check]:
        """Check what a run of these bundles needs, or without bundles all that the backend offers.

        Nothing is written into the project; adapters are loaded into the server, as by a run.
        """
        from engine.run.doctor import Subject, examine

        return examine(
            Subject(
                settings=lambda: f"{self.root}: backend {self.config.backend.kind}",
                bundles=request.bundles,
                load=self.bundle,
                backend=lambda bundles: self.backend(request, bundles),
                assign=lambda bundle, backend: self._assignment(bundle, request, backend),
                model=request.model,
            )
        )

    def test(
        self,
        request: CasesRequest,
        *,
        backend: Backend | None = None,
        fetch: Fetch | None = None,
    ) -> contextlib.AbstractAsyncContextManager[Runner]:
        """Plan the cases of bundles under every combination that is asked for, and have everything ready for them.

        The cases run in projects of their own and don't know this one: of engine.yaml they get the backend and the
        limits of a run, not what its operations set.

        Args:
            request: What to run.
            backend: A backend to use instead of the configured one; it stays open.
            fetch: Downloads missing weights.
        """
        from engine.run.testing import Bench, opened

        config = self.config.model_copy(update={"operations": {}})
        alone = App(self.root, config)

        def asked(model: str | None, adapter: str | None = None, params: Mapping[str, Any] | None = None) -> RunRequest:
            return RunRequest(
                [],
                [],
                params=params or {},
                model=model,
                adapter=adapter,
                plugin=request.plugin,
                base_url=request.base_url,
            )

        async def plan(subject: Subject, used: Backend) -> Plan:
            wanted = asked(subject.model, subject.adapter, subject.params)
            wanted = replace(wanted, targets=[subject.root / subject.target])
            return await App(subject.root, config).plan(wanted, [subject.bundle], used)

        bench = Bench(
            load=self.bundle,
            model=lambda bundle, model: model or alone._model(bundle),
            backend=lambda bundles, model: backend or alone.backend(asked(model), bundles, fetch),
            plan=plan,
            closes=backend is None,
            concurrency=config.run.concurrency,
            seconds=config.run.seconds,
        )
        return opened(bench, request)

    def backend(self, request: RunRequest, bundles: Sequence[Bundle], fetch: Fetch | None = None) -> Backend:
        """Make the backend that the request, engine.yaml and the bundles ask for."""
        spec = self.config.backend
        self._refuse_roles(bundles)
        if request.base_url or spec.kind == "openai":
            return self._server(request)
        from engine.backends import (
            DEFAULT_WEIGHTS,
            WEIGHTS,
            AbsentBackend,
            EmbeddedBackend,
            is_present,
            resolve_weights,
        )

        name = request.model or self._one_model(bundles) or spec.model or DEFAULT_WEIGHTS
        known = WEIGHTS.get(name.lower())
        installed = find_spec("xllamacpp") is not None
        if known is not None and fetch is None and not (installed and is_present(known)):
            return AbsentBackend(name)
        if not installed:
            raise MissingExtraError("the embedded model", "local")
        if known is not None and fetch is not None:
            fetch(known.name)
        adapters = [adapter for bundle in bundles for adapter in bundle.adapters.values()]
        return EmbeddedBackend(resolve_weights(name), adapters=adapters)

    def _refuse_roles(self, bundles: Sequence[Bundle]) -> None:
        """Say that roles don't resolve yet, rather than let some other model answer."""
        if self.config.backend.kind == "roles":
            raise ConfigError("backend.kind: roles is not available in this version: use embedded or openai")
        for bundle in bundles:
            role = bundle.manifest.model.role
            if role is not None:
                raise ConfigError(
                    f"bundle '{bundle.name}' asks for the role '{role}', and roles are not available in this version: "
                    f"name the model with model.id, or leave both out"
                )

    def _server(self, request: RunRequest) -> Backend:
        from engine.backends import OpenAIBackend

        spec = self.config.backend
        url = request.base_url or spec.base_url
        if url is None:
            raise ConfigError(
                "backend.kind is openai, but there is no backend.base_url in engine.yaml and no --base-url"
            )
        key = os.environ.get(spec.api_key_env) if spec.api_key_env else None
        if spec.api_key_env and key is None:
            raise ConfigError(f"the environment variable {spec.api_key_env} (backend.api_key_env) is not set")
        if find_spec("openai") is None:
            raise MissingExtraError("a model server", "backend")
        return OpenAIBackend(url, model=spec.model, api_key=key, dialect=spec.dialect, retries=self.config.run.retries)

    def _one_model(self, bundles: Sequence[Bundle]) -> str | None:
        """Return the one model that the operations or the bundles name; the embedded backend serves no second."""
        named = {self._model(bundle) for bundle in bundles}
        named.discard(None)
        if len(named) > 1:
            raise ConfigError(
                f"these bundles name different models ({', '.join(sorted(map(str, named)))}): choose one with --model"
            )
        return next(iter(named), None)

    def _model(self, bundle: Bundle) -> str | None:
        operation = self._operation(bundle)
        return (operation.model if operation else None) or bundle.manifest.model.id

    def _operation(self, bundle: Bundle) -> Operation | None:
        return next((op for op in self.config.operations.values() if op.enabled and op.bundle == bundle.name), None)

    async def plan(self, request: RunRequest, bundles: Sequence[Bundle], backend: Backend) -> Plan:
        """Find the nodes that bundles take, and resolve their settings; calls no model."""
        from engine.run import Plan, grouped, make_tasks

        assignments = [self._assignment(bundle, request, backend) for bundle in bundles]
        whole = await self._discover(request, [bundle for bundle in bundles if bundle.query is None])
        parts = [whole]
        tasks = make_tasks(
            [one for one in assignments if one.bundle.query is None], whole.nodes, patterns=request.nodes
        )
        for one in assignments:
            if one.bundle.query is not None:
                parts.append(await self._discover(request, [one.bundle]))
                tasks += make_tasks([one], parts[-1].nodes, patterns=request.nodes)
        return Plan(tuple(assignments), tuple(parts), tuple(grouped(tasks[: request.limit])))

    async def _discover(self, request: RunRequest, bundles: Sequence[Bundle]) -> Discovery:
        from engine.discovery import Discovery, discover_async

        if not bundles:
            return Discovery((), 0)
        named = [set(bundle.manifest.nodes.languages) for bundle in bundles]
        languages = sorted(set.union(*named)) if all(named) else None
        types = [set(bundle.manifest.nodes.types) for bundle in bundles]
        return await discover_async(
            request.targets,
            root=self.root,
            languages=languages,
            types=sorted(set.union(*types)) if all(types) else None,
            query=bundles[0].query,
        )

    def _assignment(self, bundle: Bundle, request: RunRequest, backend: Backend) -> Assignment:
        """Resolve a bundle's settings: command line, then engine.yaml's operation, then the bundle."""
        from engine.run import Assignment

        operation = self._operation(bundle)
        spec = bundle.manifest.model
        adapter = request.adapter or spec.adapter
        if adapter is not None and adapter != "none" and adapter not in bundle.adapters:
            raise ConfigError(
                f"bundle '{bundle.name}' has no adapter '{adapter}'; it has: {', '.join(bundle.adapters) or 'none'}"
            )
        # The embedded backend has one model, and knows its family better than a bundle that was written for another.
        embedded = backend.name == "embedded"
        family = getattr(backend, "plugin", None) if embedded else None
        return Assignment(
            bundle,
            bundle.get_plugin(request.plugin or (operation.plugin if operation else None) or family),
            bundle.resolve_params({**(operation.params if operation else {}), **request.params}),
            model=None if embedded else request.model or self._model(bundle),
            adapter=None if adapter == "none" else adapter,
            adapters=adapter != "none",
            insists=request.adapter is not None,
            priority=operation.priority if operation else "normal",
            seed=request.seed,
        )

    def _settings(self, request: RunRequest, backend: Backend) -> RunSettings:
        from engine.run import RunSettings

        operations = self.config.operations.values()
        return RunSettings(
            concurrency=request.concurrency or self.config.run.concurrency or backend.concurrency,
            seconds=self.config.run.seconds,
            targets=tuple(str(target) for target in request.targets),
            auto_accept=frozenset(op.bundle for op in operations if op.auto_accept and not request.hold),
            allow_unconstrained=request.allow_unconstrained,
            described={
                "backend": backend.name,
                "model": request.model,
                "adapter": request.adapter,
                "params": dict(request.params),
                "seed": request.seed,
            },
        )


def discover(targets: Sequence[str | Path], languages: Sequence[str] | None = None) -> list[CodeNode]:
    """Return the code nodes of files and folders.

    Args:
        targets: Files and folders.
        languages: Only these languages; None means all.

    Raises:
        ConfigError: A target does not exist or a language is unknown.
    """
    from engine.discovery import discover as discover_nodes

    return list(discover_nodes(targets, root=find_root(None, targets), languages=languages).nodes)


async def run(
    bundle: str | Path | Bundle,
    target: Sequence[str | Path],
    *,
    backend: Backend | None = None,
    observer: object | None = None,
    apply: bool = False,
    project: Path | None = None,
    **settings: Any,
) -> RunResult:
    """Run a bundle over the code nodes of files and folders.

    Args:
        bundle: A bundle or its path.
        target: Files and folders.
        backend: Where completions come from; by default what engine.yaml says. It is not closed.
        observer: Gets every event.
        apply: Accept the changes at the end.
        project: The project's root.
        settings: Further attributes of RunRequest, such as params, model, nodes or limit.

    Raises:
        BundleError: The bundle has errors.
        ConfigError: A setting is wrong.
    """
    request = RunRequest([bundle], target, **settings)
    app = App.open(project, target)
    async with app.session(request, backend=backend) as session:
        return await session.run([observer] if observer else [], apply=apply)

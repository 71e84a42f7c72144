"""A project, wired: its settings, bundles, backend, event log and change store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.choices import Choices, Wanted, check_names
from engine.app.planning import discovered, selection
from engine.app.request import Fetch, ResumeRequest, RunRequest
from engine.app.rerun import edit, rerun
from engine.errors import ConfigError
from engine.events import EventLog, LogReader
from engine.run.root import find_root

# Rooms are imported where they are wired: looking at runs and changes needs no model, manifest or sandbox.
if TYPE_CHECKING:
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.events.telemetry import OtlpTarget, Traced
    from engine.manifest import EngineConfig
    from engine.run import Plan, Review, Session
    from engine.run.cache import TaskCache
    from engine.run.cache.why import Why
    from engine.run.doctor import Check
    from engine.run.enforcement import Enforcer
    from engine.run.housekeeping import Housekeeper, Keep
    from engine.run.testing import CasesRequest, Runner, Subject


class App:
    """A project with its settings, event log and change store.

    Args:
        root: The project's root; targets lie below it, and `.engine/` is made there when something runs.
        config: The project's settings; by default what engine.yaml and the environment say.
        log: The event log's file, if not the project's own.

    Attributes:
        log_path: The event log's file.
    """

    def __init__(self, root: Path, config: EngineConfig | None = None, *, log: Path | None = None) -> None:
        self.root, self._config = root.resolve(), config
        self.log_path = log or self.root / ".engine" / "events.db"

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

    @cached_property
    def choices(self) -> Choices:
        """Resolves what the command line, engine.yaml and bundles say."""
        return Choices(self.config)

    def bundle(self, source: str | Path | Bundle) -> Bundle:
        """Load a bundle by path, or by name from the project's bundle folder.

        Raises:
            BundleError: It cannot be used.
            ConfigError: There is none of that name.
        """
        from engine.bundle import Bundle, load_bundle

        if isinstance(source, Bundle):
            return source
        found, name = self.locate(source), str(source)
        if isinstance(source, str) and Path(name).name == name and not Path(found).exists():
            raise ConfigError(self.choices.no_bundle(name, self.root))
        return load_bundle(found)

    def wanted(self, request: RunRequest) -> list[Wanted]:
        """Load what is to run: the bundles of a request, and those of its operations.

        Args:
            request: What `Choices.resolved` returned.

        Raises:
            BundleError: A bundle cannot be used.
            ConfigError: An operation's bundle does not exist.
        """
        own = [Wanted(self.bundle(source)) for source in request.bundles]
        loaded: dict[str, Bundle] = {}
        for name in request.operations:
            source = self.config.operations[name].bundle
            if source not in loaded:
                loaded[source] = self.bundle(self._of_operation(name, source))
        return own + [Wanted(loaded[self.config.operations[name].bundle], name) for name in request.operations]

    def _of_operation(self, name: str, source: str) -> Path:
        """Return the path of the bundle that an operation names."""
        from engine.diagnostics import did_you_mean

        folder = self.root / self.config.bundles
        found = next((path for path in (folder / source, self.root / source) if path.exists()), None)
        if found is None:
            there = self.choices.bundles(self.root)
            hint = did_you_mean(source, there) or f"there are: {', '.join(there) or 'none'}"
            raise ConfigError(
                f"operation '{name}' of engine.yaml names the bundle '{source}', which is not in {folder}; {hint}"
            )
        return found

    def locate(self, source: str | Path) -> str | Path:
        """Return a bundle's path: as given, or that of the name in the project's bundle folder."""
        named = self.root / self.config.bundles / str(source)
        return named if not Path(source).exists() and named.exists() else source

    def log(self) -> EventLog:
        """Open the event log."""
        return EventLog(self.log_path)

    def reader(self) -> LogReader:
        """Open the event log for reading; nothing is made."""
        return LogReader(self.log_path)

    def cache(self) -> TaskCache:
        """Open the cache of task results; nothing is made before something is kept."""
        from engine.run.cache import CACHE, TaskCache

        return TaskCache(self.root / CACHE)

    async def why(self, subject: str, given: Mapping[str, Any]) -> list[Why]:
        """Say what keeps the cache from having a task: `engine.app.caching.why` has more."""
        from engine.app.caching import why

        return await why(self, subject, given)

    def tracing(self, url: str | None = None) -> contextlib.AbstractAsyncContextManager[Traced | None]:
        """Return what opens an observer that sends runs to an OpenTelemetry collector, or None where none is asked for.

        Args:
            url: The collector; by default as engine.yaml says, or the environment (OTEL_EXPORTER_OTLP_ENDPOINT).

        Raises:
            ConfigError: The URL is none.
        """
        from engine.events.telemetry import tracing

        return tracing(self.collector(url))

    def collector(self, url: str | None = None) -> OtlpTarget | None:
        """Return where traces go: as said, else as engine.yaml or the environment says; None for nowhere."""
        from engine.events.telemetry import choose_target

        telemetry = self.config.telemetry
        return choose_target(url, telemetry.otlp, os.environ, content=telemetry.content)

    def housekeeper(self) -> Housekeeper:
        """Return what forgets old runs."""
        from engine.run.housekeeping import Housekeeper

        return Housekeeper(self.root, self.log_path)

    def keep(self, runs: int | None = None, days: float | None = None) -> Keep:
        """Return which runs are kept: as said, else as engine.yaml says."""
        from engine.run.housekeeping import Keep

        said = runs is not None or days is not None
        return Keep(runs, days) if said else Keep(self.config.log.keep_runs, self.config.log.keep_days)

    def review(self, run_id: str | None = None) -> Review:
        """Open the changes of a run; without an id, of the newest.

        Raises:
            ConfigError: There is no such run.
        """
        from engine.run import Review
        from engine.workspace import ChangeStore

        with self.reader() as log:
            found = log.resolve(run_id)  # before anything is made
        return Review(self.root, ChangeStore(self.root), found, self.log)

    def newest_accepted(self) -> str | None:
        """Return the newest run with accepted changes, which can be taken out again; None where there is none.

        Raises:
            ConfigError: There is no run at all.
        """
        from engine.workspace import ChangeStore

        with self.reader() as log:
            log.resolve(None)
            accepted = ChangeStore(self.root).accepted_runs()
            return next((one.run_id for one in log.runs() if one.run_id in accepted), None)

    rerun = rerun
    edit = edit

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
        request = self.choices.resolved(request)
        wanted = await asyncio.to_thread(self.wanted, request)
        async with self._session(request, wanted, self.plan, backend, fetch) as make:
            yield make(enforcer)

    @contextlib.asynccontextmanager
    async def resume(
        self,
        run_id: str | None = None,
        how: ResumeRequest | None = None,
        *,
        backend: Backend | None = None,
        fetch: Fetch | None = None,
        enforcer: Enforcer | None = None,
    ) -> AsyncIterator[Session]:
        """Have everything ready to go on with a run that ended early; nobody else can until the context ends.

        The session has the run's id, its plan the tasks that are left. `Session.plan.resumed.past.over` says that there
        is nothing to do.

        Args:
            run_id: The run; None means the newest, and a unique beginning is enough.
            how: How to go on.
            backend: A backend to use instead of the configured one; it stays open.
            fetch: Downloads missing weights.
            enforcer: Remembers which constraints of `backend` were seen in force, from session to session.

        Raises:
            ConfigError: There is no such run, it still runs, or what it needs is missing or another one now.
        """
        from engine.app.resume import Resumption
        from engine.run.claim import claimed
        from engine.run.resume import read_past

        how = how or ResumeRequest()
        with self.reader() as log:
            known = log.resolve(run_id)
        with claimed(self.log_path, known, take_over=how.take_over) as status:
            past = await asyncio.to_thread(read_past, self.log_path, known, status, failed=how.failed)
            going = await asyncio.to_thread(Resumption, self, past, how)
            wanted, fetches = going.wanted, fetch if past.left or not past.planned else None
            async with self._session(going.request, wanted, going.plan, backend, fetches) as make:
                yield make(enforcer)

    @contextlib.asynccontextmanager
    async def _session(
        self,
        request: RunRequest,
        wanted: Sequence[Wanted],
        plan: Callable[[RunRequest, Sequence[Wanted], Backend], Awaitable[Plan]],
        backend: Backend | None,
        fetch: Fetch | None,
    ) -> AsyncIterator[Callable[[Enforcer | None], Session]]:
        """Open what a session needs, and make its plan."""
        from engine.app.executor import ray_options
        from engine.app.recorded import request_to_json
        from engine.kernel import Prices
        from engine.run import Services, Session
        from engine.run.budget import run_pool, seconds_left
        from engine.tools import ScriptRunner
        from engine.workspace import ChangeStore

        used = backend or self.backend(request, wanted, fetch)
        async with contextlib.AsyncExitStack() as stack:
            if backend is None:
                stack.push_async_callback(used.aclose)
            scripts = await stack.enter_async_context(ScriptRunner())
            prices = Prices(self.config.prices) if self.config.prices else None
            recorded = self.choices.cache(request) is not None
            services = Services(self.root, used, scripts, run_pool(self.config, request.budget), prices, recorded)
            since = time.time_ns()
            made = replace(await plan(request, wanted, used), since=since)
            settings = self.choices.settings(request, used)
            settings = replace(settings, ray=ray_options(self.config, request, used, given=backend is not None))
            settings = replace(settings, request=request_to_json(request, self.root, self._place))
            settings = replace(settings, seconds=seconds_left(settings.seconds, request.budget, made.resumed))
            yield lambda enforcer: Session(made, services, settings, self.log, ChangeStore, enforcer=enforcer)

    def _place(self, source: str | Path | Bundle) -> str | Path:
        """Return the path of a bundle that was named, or of a loaded one."""
        from engine.bundle import Bundle

        return source.root if isinstance(source, Bundle) else self.locate(source)

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
                assign=lambda bundle, backend: self.choices.assignment(bundle, request, backend),
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
            model=lambda bundle, model: model or alone.choices.model(bundle),
            backend=lambda bundles, model: backend or alone.backend(asked(model), bundles, fetch),
            plan=plan,
            closes=backend is None,
            concurrency=config.run.concurrency,
            seconds=config.run.seconds,
        )
        return opened(bench, request)

    def backend(self, request: RunRequest, bundles: Sequence[Bundle | Wanted], fetch: Fetch | None = None) -> Backend:
        """Make the backend that the request, engine.yaml and the bundles ask for."""
        from engine.app.backend import make_backend

        return make_backend(self.config, request, bundles, fetch)

    async def plan(self, request: RunRequest, bundles: Sequence[Bundle | Wanted], backend: Backend) -> Plan:
        """Find the nodes that bundles take, and resolve their settings; calls no model."""
        from engine.run import Plan, grouped, make_tasks

        assignments = [self.choices.assignment(bundle, request, backend) for bundle in bundles]
        check_names(assignments)
        shard, since = await selection(request, self.root)
        own = [one for one in assignments if one.bundle.query is None]
        whole = await discovered(request, self.root, [one.bundle for one in own], since)
        parts = [whole]
        tasks = make_tasks(own, whole.nodes, patterns=request.nodes, shard=shard)
        for one in assignments:
            if one.bundle.query is not None:
                parts.append(await discovered(request, self.root, [one.bundle], since))
                tasks += make_tasks([one], parts[-1].nodes, patterns=request.nodes, shard=shard)
        return Plan(tuple(assignments), tuple(parts), tuple(grouped(tasks[: request.limit])))

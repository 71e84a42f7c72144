"""A project, wired: its settings, bundles, backend, event log and change store."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.choices import Choices, Wanted, check_names
from engine.app.request import Fetch, RunRequest
from engine.errors import ConfigError
from engine.events import EventLog, LogReader
from engine.run.root import find_root

# Rooms are imported where they are wired: looking at runs and changes needs no model, manifest or sandbox.
if TYPE_CHECKING:
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.discovery import Discovery
    from engine.manifest import EngineConfig
    from engine.run import Plan, Review, Session
    from engine.run.doctor import Check
    from engine.run.enforcement import Enforcer
    from engine.run.select import Shard
    from engine.run.since import Since
    from engine.run.testing import CasesRequest, Runner, Subject


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

    @cached_property
    def choices(self) -> Choices:
        """Resolves what the command line, engine.yaml and bundles say."""
        return Choices(self.config)

    def bundle(self, source: str | Path | Bundle) -> Bundle:
        """Load a bundle by path, or by name from the project's bundle folder."""
        from engine.bundle import Bundle, load_bundle

        return source if isinstance(source, Bundle) else load_bundle(self.locate(source))

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
            there = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
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
            return Review(self.root, ChangeStore(self.root), log.resolve(run_id), self.log)

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
        from engine.app.executor import ray_options
        from engine.run import Services, Session
        from engine.tools import ScriptRunner
        from engine.workspace import ChangeStore

        request = self.choices.resolved(request)
        bundles = await asyncio.to_thread(self.wanted, request)
        used = backend or self.backend(request, bundles, fetch)
        async with contextlib.AsyncExitStack() as stack:
            if backend is None:
                stack.push_async_callback(used.aclose)
            scripts = await stack.enter_async_context(ScriptRunner())
            services = Services(self.root, used, scripts)
            plan = await self.plan(request, bundles, used)
            settings = self.choices.settings(request, used)
            settings = replace(settings, ray=ray_options(self.config, request, used, given=backend is not None))
            yield Session(plan, services, settings, self.log, ChangeStore, enforcer=enforcer)

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
        shard, since = await self._selection(request)
        whole = await self._discover(request, [one.bundle for one in assignments if one.bundle.query is None], since)
        parts = [whole]
        tasks = make_tasks(
            [one for one in assignments if one.bundle.query is None], whole.nodes, patterns=request.nodes, shard=shard
        )
        for one in assignments:
            if one.bundle.query is not None:
                parts.append(await self._discover(request, [one.bundle], since))
                tasks += make_tasks([one], parts[-1].nodes, patterns=request.nodes, shard=shard)
        return Plan(tuple(assignments), tuple(parts), tuple(grouped(tasks[: request.limit])))

    async def _selection(self, request: RunRequest) -> tuple[Shard | None, Since | None]:
        """Return the part of the nodes and the commit that are asked for.

        Raises:
            ConfigError: There is no such part, commit or repository.
        """
        from engine.run.select import check_shard

        shard = None if request.shard is None else check_shard(request.shard)
        if request.changed_since is None:
            return shard, None
        from engine.run.since import Since

        return shard, await asyncio.to_thread(Since, request.changed_since, self.root, request.targets)

    async def _discover(self, request: RunRequest, bundles: Sequence[Bundle], since: Since | None) -> Discovery:
        from engine.discovery import Discovery, discover_async

        if not bundles:
            return Discovery((), 0)
        named = [set(bundle.manifest.nodes.languages) for bundle in bundles]
        languages = sorted(set.union(*named)) if all(named) else None
        typed = [set(bundle.manifest.nodes.types) for bundle in bundles]
        types = sorted(set.union(*typed)) if all(typed) else None
        query = bundles[0].query
        found = await discover_async(
            request.targets,
            root=self.root,
            languages=languages,
            types=types,
            query=query,
            only=since.touches if since else None,
        )
        return replace(found, nodes=await since.changed(found.nodes, types=types, query=query)) if since else found

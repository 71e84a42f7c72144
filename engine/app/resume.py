"""Going on with a run: what it was asked for, its bundles as they were, the tasks that are left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engine.app.recorded import request_from_json
from engine.app.request import ResumeRequest, RunRequest
from engine.errors import BundleError, ConfigError

if TYPE_CHECKING:
    from engine.app.app import App
    from engine.app.choices import Wanted
    from engine.backends import Backend
    from engine.events import TaskRow
    from engine.run import Assignment, Plan
    from engine.run.resume import Past


class Resumption:
    """What goes on, worked out before anything is started.

    Args:
        app: The project.
        past: The run so far.
        how: How it is gone on with.

    Raises:
        ConfigError: The log does not say what was asked for, or a bundle or an operation is missing or another one now.
        BundleError: A bundle has errors.
    """

    def __init__(self, app: App, past: Past, how: ResumeRequest) -> None:
        self._app, self.past, self._how = app, past, how
        asked = request_from_json(past.request, app.root)
        self.request = replace(
            asked,
            base_url=how.base_url or asked.base_url,
            concurrency=how.concurrency or asked.concurrency,
        )
        self.request = replace(self.request, budget={**asked.budget, **how.budget})
        self.wanted = self._load()
        self.notes = self._compare()

    def _load(self) -> list[Wanted]:
        for path in self.request.bundles:
            if not Path(str(path)).exists():
                raise ConfigError(
                    f"run {self.past.run_id} cannot go on: its bundle {path} does not exist any more; put it back, or "
                    "start a new run with engine run"
                )
        try:
            return self._app.wanted(self._app.choices.resolved(self.request))
        except BundleError as error:
            raise BundleError(f"run {self.past.run_id} cannot go on: {error}", error.diagnostics) from error

    def _compare(self) -> tuple[str, ...]:
        """Return what is to be noted of bundles that are not what they were.

        Raises:
            ConfigError: There are some, and nobody said to go on with them.
        """
        digests = self.past.record.summary.get("digests")
        known: Mapping[str, str] = digests if isinstance(digests, Mapping) else {}
        now = {one.bundle.name: one.bundle.digest for one in self.wanted}
        changed = [name for name, digest in now.items() if known.get(name) != digest]
        if changed and not self._how.changed_bundles:
            raise ConfigError(
                f"run {self.past.run_id} cannot go on: {_bundles(changed)} changed since it started; start a new run "
                "with engine run (the cache keeps what is unchanged), or go on with what is there now: "
                "--changed-bundles"
            )
        return tuple(f"the bundle '{name}' changed since the run started" for name in changed)

    async def plan(self, request: RunRequest, wanted: Sequence[Wanted], backend: Backend) -> Plan:
        """Return the plan of what is left; of a run that died before its plan was stored, all of it."""
        from engine.run.left import Project, plan_left
        from engine.run.resume import Resumed
        from engine.workspace import ChangeStore

        resumed = Resumed(self.past, notes=self.notes, rows=self._ended)
        if not self.past.planned:
            return replace(await self._app.plan(request, wanted, backend), resumed=resumed)
        assignments = [self._app.choices.assignment(one, request, backend) for one in wanted]
        if self.past.left:
            resumed = replace(resumed, notes=(*self.notes, *self._compare_settings(assignments)))
        accepting = {(one.operation, one.bundle.name) for one in assignments if one.auto_accept}
        resumed = replace(resumed, auto_accept=lambda row: (row.operation, row.bundle) in accepting)
        project = Project(self._app.root, self._app.log_path, ChangeStore(self._app.root))
        return await plan_left(
            self.past, assignments, project, resumed, when_gone="engine run takes the nodes as they are now"
        )

    def _compare_settings(self, assignments: Sequence[Assignment]) -> tuple[str, ...]:
        """Return what is to be noted of settings of engine.yaml that are not what they were.

        Raises:
            ConfigError: There are some, and nobody said to go on with them.
        """
        from engine.run.recording import in_force

        settings = self.past.record.summary.get("settings")
        was = settings.get("in_force") if isinstance(settings, Mapping) else None
        if not isinstance(was, Mapping):
            return ()
        now = in_force(assignments)
        changed = [
            f"{what} of '{name}'"
            for name, values in now.items()
            for what, value in values.items()
            if isinstance(was.get(name), Mapping) and was[name].get(what) != value
        ]
        if changed and not self._how.changed_bundles:
            raise ConfigError(
                f"run {self.past.run_id} cannot go on: engine.yaml changed the {', '.join(changed)} since it started; "
                "start a new run with engine run, change it back, or go on with what is there now: --changed-bundles"
            )
        return tuple(f"the {one} changed since the run started" for one in changed)

    def _ended(self) -> list[TaskRow]:
        left = {row.task_id for row in self.past.left}
        with self._app.reader() as log:
            return [row for row in log.tasks(self.past.run_id) if row.task_id not in left]


def _bundles(names: Sequence[str]) -> str:
    named = ", ".join(f"'{name}'" for name in names)
    return f"the bundle {named}" if len(names) == 1 else f"the bundles {named}"

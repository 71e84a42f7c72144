"""What the server must have: the model, the adapters, and each constraint in force."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from functools import partial

from engine.backends import Backend, in_force
from engine.grammar.constraint import Kind
from engine.models import Adapter
from engine.run.doctor.check import BrokenError, Check, SkippedError, checked
from engine.run.enforcement import declared_kind
from engine.run.plan import Assignment

_WAYS_OUT = "correct backend.dialect in engine.yaml, update the server, or choose another grammar.mode in bundle.yaml"


class ServerChecks:
    """The checks of one backend.

    Args:
        backend: The backend.
        assignments: The bundles that are to run there; without any, all that the server offers is checked.
        model: The model that was asked for where there are no bundles; None is the default.
    """

    def __init__(self, backend: Backend, assignments: Sequence[Assignment], model: str | None = None) -> None:
        self._backend, self._assignments, self._model = backend, assignments, model

    async def run(self) -> AsyncGenerator[Check, None]:
        """Run them; without an answer of the server the others are skipped."""
        server = await checked("server", self._server)
        yield server
        if server.state != "ok":
            for name in ("model", "adapters", "constraints"):
                yield Check(name, "skip", "the server does not answer")
            return
        wanted = [one.model for one in self._assignments] or [self._model]
        for model in dict.fromkeys(wanted):
            yield await checked("model", partial(self._has_model, model))
        for one in self._assignments:
            for adapter in one.bundle.adapters.values():
                yield await checked(f"adapter {adapter.name} of {one.bundle.name}", partial(self._has_adapter, adapter))
        async for check in self._declared() if self._assignments else self._offered():
            yield check

    async def _server(self) -> str:
        return f"{self._backend.url} answers: {await self._backend.software()}"

    async def _has_model(self, model: str | None) -> str:
        if model is None:
            return f"{await self._backend.model_name()}, the default"
        await self._backend.prepare((), [model])
        return f"{model} is there"

    async def _has_adapter(self, adapter: Adapter) -> str:
        if not self._backend.accepts(adapter):
            why = f"it was trained on {adapter.base}" if adapter.base else "it has no files that can be used here"
            raise SkippedError(f"{why}; the bare model answers in its place")
        await self._backend.prepare([adapter])
        return "can answer here"

    async def _declared(self) -> AsyncGenerator[Check, None]:
        """Check what the bundles declare, each model and kind once."""
        seen: dict[tuple[str | None, Kind], str] = {}
        for one in self._assignments:
            yield await checked(f"constraint of {one.bundle.name}", partial(self._enforces, one, seen))

    async def _enforces(self, assignment: Assignment, seen: dict[tuple[str | None, Kind], str]) -> str:
        kind = await declared_kind(assignment, self._backend)
        if kind == "none":
            raise SkippedError("the bundle declares none")
        key = (assignment.model, kind)
        if key not in seen:
            found = await in_force(self._backend, kind, assignment.model)
            verb = "is refused" if found.refused else "is not in force"
            seen[key] = "" if found.in_force else f"{kind} {verb}: {found.detail}; {_WAYS_OUT}"
        if seen[key]:
            raise BrokenError(seen[key])
        return f"{kind} is in force: {_HELD}"

    async def _offered(self) -> AsyncGenerator[Check, None]:
        """Check all kinds that the server can be asked for; a refused one is no danger, unless there is no other."""
        found: list[Check] = []
        for kind in await self._backend.kinds():
            found.append(await checked(f"constraint {kind}", partial(self._takes, kind)))
            yield found[-1]
        if not any(check.state == "ok" for check in found):
            yield Check("constraints", "fail", f"none is in force on {self._backend.url}: {_WAYS_OUT}")

    async def _takes(self, kind: Kind) -> str:
        found = await in_force(self._backend, kind, self._model)
        if found.refused:
            raise SkippedError(f"the server does not take it: {found.detail}")
        if not found.in_force:
            raise BrokenError(f"it is not in force: {found.detail}; {_WAYS_OUT}")
        return f"in force: {_HELD}"


_HELD = "a canary was held to it"

"""All checks, in the order in which one needs the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from engine.backends import Backend
from engine.bundle import Bundle
from engine.run.doctor.check import Check, checked
from engine.run.doctor.machine import extras, sandbox, weights
from engine.run.doctor.server import ServerChecks
from engine.run.plan import Assignment

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Subject:
    """What is examined; each callable raises where its part is broken.

    Attributes:
        settings: Reads the project's settings and says where they are.
        bundles: The bundles as they were named; without any, all that the server offers is checked.
        load: Loads one of them.
        backend: Makes the backend that they would run on.
        assign: Resolves a bundle's settings.
        model: The model that was asked for, or None.
    """

    settings: Callable[[], str]
    bundles: Sequence[str | Path | Bundle]
    load: Callable[[str | Path | Bundle], Bundle]
    backend: Callable[[Sequence[Bundle]], Backend]
    assign: Callable[[Bundle, Backend], Assignment]
    model: str | None = None


class _Part(Generic[_T]):
    """Something that other checks need, made by a check of its own."""

    def __init__(self, make: Callable[[], _T], describe: Callable[[_T], str]) -> None:
        self._make, self._describe = make, describe
        self.made: list[_T] = []

    async def check(self) -> str:
        """Make it and say what it is."""
        self.made.append(await asyncio.to_thread(self._make))
        return self._describe(self.made[0])


async def examine(subject: Subject) -> AsyncGenerator[Check, None]:
    """Run all checks, one after the other; each is given as soon as it is done."""
    for check in extras():
        yield check
    yield await checked("sandbox", sandbox)
    settings = _Part(subject.settings, str)
    yield await checked("settings", settings.check)
    bundles: list[Bundle] = []
    for source in subject.bundles if settings.made else ():
        loaded = _Part(partial(subject.load, source), lambda bundle: f"{bundle.root} is valid")
        yield await checked(f"bundle {source.name if isinstance(source, Bundle) else source}", loaded.check)
        bundles += loaded.made
    if not settings.made or len(bundles) < len(subject.bundles):
        yield Check("server", "skip", "first correct what failed above")
        return
    async for check in _of_backend(subject, bundles):
        yield check


def _assign(subject: Subject, bundles: Sequence[Bundle], backend: Backend) -> list[Assignment]:
    return [subject.assign(bundle, backend) for bundle in bundles]


async def _of_backend(subject: Subject, bundles: Sequence[Bundle]) -> AsyncGenerator[Check, None]:
    made = _Part(partial(subject.backend, bundles), lambda backend: f"{backend.name}: {backend.url}")
    yield await checked("backend", made.check)
    for backend in made.made:
        try:
            yield await checked("weights", partial(weights, backend))
            assigned = _Part(partial(_assign, subject, bundles, backend), lambda _: "they fit")
            check = await checked("settings of the bundles", assigned.check)
            if check.state == "fail":
                yield check
                return
            async for check in ServerChecks(backend, assigned.made[0], subject.model).run():
                yield check
        finally:
            await backend.aclose()

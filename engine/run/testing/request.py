"""What a person asks of a test run, and what it needs of the application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from engine.backends import Backend
from engine.bundle import Bundle
from engine.run.run_plan import Plan

Replies = Literal["live", "record", "replay"]
"""Where replies come from: the backend; the backend, and they are recorded; the recordings."""


@dataclass(frozen=True, slots=True)
class CasesRequest:
    """What a person asks of a test run; None leaves the choice to engine.yaml, the bundle or the backend.

    Attributes:
        bundles: Paths of bundles, names below the project's bundle folder, or loaded bundles.
        models: Models to run on, each with each adapter.
        adapters: Adapters to run with; `none` is no adapter.
        plugin: The model family.
        base_url: A server to use instead of the configured backend.
        baseline: What to compare with: `none` (no adapter), a bundle's path, or `git:REF`.
        cases: Globs of the names of cases; none means all.
        repeats: How often each case runs, whatever it says itself.
        seed: The seed of the first repeat; the next has the next.
        concurrency: Trials at once.
        fail_fast: Start no further trial once a case has failed.
        allow_unconstrained: Run even where the declared constraint is not in force.
        allow_commands: Run commands of cases that the bundle's permissions don't cover.
        replies: Whether the replies are recorded, or come from recordings.
    """

    bundles: Sequence[str | Path | Bundle]
    models: Sequence[str] = ()
    adapters: Sequence[str] = ()
    plugin: str | None = None
    base_url: str | None = None
    baseline: str | None = None
    cases: Sequence[str] = ()
    repeats: int | None = None
    seed: int | None = None
    concurrency: int | None = None
    fail_fast: bool = False
    allow_unconstrained: bool = False
    allow_commands: bool = False
    replies: Replies = "live"


@dataclass(frozen=True, slots=True)
class Subject:
    """One case's project, as it is planned.

    Attributes:
        root: The project.
        target: The file in it.
        bundle: The bundle that runs.
        params: Values of its params.
        model: The model that was asked for, or None.
        adapter: The adapter that was asked for, or None.
    """

    root: Path
    target: str
    bundle: Bundle
    params: Mapping[str, Any]
    model: str | None
    adapter: str | None


@dataclass(frozen=True, slots=True)
class Bench:
    """What a test run needs of the application; each callable raises where its part is broken.

    Attributes:
        load: Loads a bundle as it was named.
        model: Names the model that answers a bundle when a model was asked for, or none was.
        backend: Makes the backend of some bundles for a model; nothing heavy is started by it.
        plan: Finds the nodes of a case's project that its bundle takes.
        closes: Whether the backends are closed at the end.
        concurrency: Trials at once, if engine.yaml says.
        seconds: Upper bound of one trial.
    """

    load: Callable[[str | Path | Bundle], Bundle]
    model: Callable[[Bundle, str | None], str | None]
    backend: Callable[[Sequence[Bundle], str | None], Backend]
    plan: Callable[[Subject, Backend], Awaitable[Plan]]
    closes: bool = True
    concurrency: int | None = None
    seconds: float = 3600.0

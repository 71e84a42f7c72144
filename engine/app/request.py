"""What a person asks of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from engine.bundle import Bundle

Fetch = Callable[[str], object]
"""Downloads known weights by name, if they are not here."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a person asks of a run; None leaves the choice to engine.yaml, the bundle or the backend.

    Attributes:
        bundles: Paths of bundles, names below the project's bundle folder, or loaded bundles; also names of operations.
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
        changed_since: A git revision; only nodes whose text is not what it was there.
        shard: `(i, n)`: only the i-th of n parts, from 1; a node is always in the same one.
        cache: Whether results may come from the cache.
        executor: Where tasks run.
        budget: What all tasks together may use: tokens, seconds, tool_calls, cost; each replaces engine.yaml's.
        operations: Names of operations of engine.yaml; where there is no bundle either, all that are enabled.
        on_failure: What becomes of the others when a task does not finish.
        attempts: How often a task is tried that the server failed.
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
    changed_since: str | None = None
    shard: tuple[int, int] | None = None
    cache: bool | None = None
    executor: Literal["local", "ray"] | None = None
    budget: Mapping[str, float] = field(default_factory=dict)
    operations: Sequence[str] = ()
    on_failure: Literal["skip_dependents", "continue", "stop"] | None = None
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """How a run is gone on with; all else is as it was asked for at first.

    Attributes:
        failed: Also try again what failed, hit a limit of its own or was skipped.
        changed_bundles: Go on with bundles that are not what they were.
        take_over: Go on although the process that ran it cannot be looked at from here.
        base_url: Where the server is now.
        concurrency: Tasks at once.
        budget: Limits of the whole run, what it has used included; each replaces the one it had, and holds from now on.
    """

    failed: bool = False
    changed_bundles: bool = False
    take_over: bool = False
    base_url: str | None = None
    concurrency: int | None = None
    budget: Mapping[str, float] = field(default_factory=dict)

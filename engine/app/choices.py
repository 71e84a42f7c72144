"""Who has the say: the command line, then engine.yaml's operation, then the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from engine.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from engine.app.request import RunRequest
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.manifest import EngineConfig
    from engine.manifest.engine_model import Operation
    from engine.run import Assignment, RunSettings
    from engine.run.cache import CacheUse


@dataclass(frozen=True, slots=True)
class Wanted:
    """A bundle that is to run.

    Attributes:
        bundle: The bundle.
        operation: The name of the operation that it runs as; empty for a bundle that was named itself.
    """

    bundle: Bundle
    operation: str = ""


@dataclass(frozen=True, slots=True)
class Choices:
    """Resolves what several places may say.

    Attributes:
        config: The project's settings.
    """

    config: EngineConfig

    def resolved(self, request: RunRequest) -> RunRequest:
        """Return the request with its operations told from its bundles; one that names neither asks for all operations.

        Raises:
            ConfigError: There is no such operation, or none at all.
        """
        enabled = [name for name, operation in self.config.operations.items() if operation.enabled]
        named = [name for name in request.bundles if isinstance(name, str) and name in enabled]
        bundles = [one for one in request.bundles if not (isinstance(one, str) and one in enabled)]
        for name in request.operations:
            if name not in enabled:
                raise ConfigError(self._no_operation(name, enabled))
        operations = list(dict.fromkeys([*request.operations, *named]))
        if not bundles and not operations:
            operations = enabled
            if not operations:
                raise ConfigError(
                    "no bundle is named, and engine.yaml has no operations: name a BUNDLE, or add operations"
                )
        return replace(request, bundles=bundles, operations=operations)

    def bundles(self, root: Path) -> list[str]:
        """Return the names in a project's bundle folder."""
        folder = root / self.config.bundles
        return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []

    def no_bundle(self, name: str, root: Path) -> str:
        """Say that a name is neither that of a bundle nor of an operation that could run.

        Args:
            name: What was asked for.
            root: The project's root.
        """
        enabled = [known for known, operation in self.config.operations.items() if operation.enabled]
        if name in self.config.operations:
            return self._no_operation(name, enabled)
        from engine.diagnostics import did_you_mean

        known = sorted({*self.bundles(root), *enabled})
        hint = did_you_mean(name, known) or f"there are: {', '.join(known) or 'none'}; or name a folder"
        return f"there is no bundle '{name}', neither as a folder nor in {self.config.bundles}; {hint}"

    def _no_operation(self, name: str, enabled: Sequence[str]) -> str:
        if name in self.config.operations:
            return f"operation '{name}' is switched off in engine.yaml: set enabled: true"
        from engine.diagnostics import did_you_mean

        hint = did_you_mean(name, enabled) or f"it has: {', '.join(enabled) or 'none'}"
        return f"engine.yaml has no operation '{name}'; {hint}"

    def one_model(self, bundles: Sequence[Bundle | Wanted]) -> str | None:
        """Return the one model that the operations or the bundles name; the embedded backend serves no second."""
        named = {self.model(bundle) for bundle in bundles}
        named.discard(None)
        if len(named) > 1:
            raise ConfigError(
                f"these bundles name different models ({', '.join(sorted(map(str, named)))}): choose one with --model"
            )
        return next(iter(named), None)

    def model(self, bundle: Bundle | Wanted) -> str | None:
        """Return the model that the operation or the bundle names."""
        wanted = as_wanted(bundle)
        operation = self.operation(wanted)
        return (operation.model if operation else None) or wanted.bundle.manifest.model.id

    def operation(self, bundle: Bundle | Wanted) -> Operation | None:
        """Return the operation that a bundle runs as; for one that was named itself, the first that is made for it."""
        wanted = as_wanted(bundle)
        if wanted.operation:
            return self.config.operations[wanted.operation]
        name = wanted.bundle.name
        return next((op for op in self.config.operations.values() if op.enabled and op.bundle == name), None)

    def assignment(self, bundle: Bundle | Wanted, request: RunRequest, backend: Backend) -> Assignment:
        """Resolve a bundle's settings: command line, then engine.yaml's operation, then the bundle.

        Which nodes an operation takes and what it comes after holds only where the operation was asked for, not where
        its bundle was named.
        """
        from engine.run import Assignment

        wanted = as_wanted(bundle)
        operation, bundle = self.operation(wanted), wanted.bundle
        route = operation if wanted.operation else None
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
            model=None if embedded else request.model or self.model(bundle),
            adapter=None if adapter == "none" else adapter,
            adapters=adapter != "none",
            insists=request.adapter is not None,
            operation=wanted.operation,
            types=_types(wanted, route),
            paths=tuple(route.paths) if route else (),
            after=tuple(route.after) if route else (),
            auto_accept=operation is not None and operation.auto_accept and not request.hold,
            priority=operation.priority if operation else "normal",
            seed=request.seed,
        )

    def cache(self, request: RunRequest) -> CacheUse | None:
        """Resolve how results of earlier runs are made use of; None for not at all.

        `--no-cache` asks everything anew and keeps it; with `run.cache: false` nothing is kept, unless a program asks.
        """
        if request.cache:
            return "use"
        if not self.config.run.cache:
            return None
        return "use" if request.cache is None else "refresh"

    def settings(self, request: RunRequest, backend: Backend) -> RunSettings:
        """Resolve how a plan is executed."""
        from engine.run import RunSettings
        from engine.run.housekeeping import Keep

        budget = self.config.run.budget.model_dump() | dict(request.budget)
        concurrency = request.concurrency or self.config.run.concurrency or backend.concurrency
        return RunSettings(
            concurrency=concurrency,
            seconds=request.budget.get("seconds", self.config.run.seconds),
            targets=tuple(str(target) for target in request.targets),
            on_failure=request.on_failure or self.config.run.on_failure,
            attempts=request.attempts or self.config.run.attempts,
            outage=self.config.run.outage,
            allow_unconstrained=request.allow_unconstrained,
            cache=self.cache(request),
            keep=Keep(self.config.log.keep_runs, self.config.log.keep_days),
            described={
                "backend": backend.name,
                "model": request.model,
                "adapter": request.adapter,
                "params": dict(request.params),
                "seed": request.seed,
                "concurrency": concurrency,
                "budget": {kind: amount for kind, amount in budget.items() if amount is not None},
            },
        )


def as_wanted(bundle: Bundle | Wanted) -> Wanted:
    """Return what is to run, of a bundle as one that was named itself."""
    return bundle if isinstance(bundle, Wanted) else Wanted(bundle)


def _types(wanted: Wanted, operation: Operation | None) -> tuple[str, ...]:
    """Return the types that an operation leaves, having seen that the bundle takes one of them.

    Raises:
        ConfigError: It takes none.
    """
    types = tuple(operation.types) if operation else ()
    taken = wanted.bundle.manifest.nodes.types
    if types and taken and not set(types) & set(taken):
        raise ConfigError(
            f"operation '{wanted.operation}' leaves only nodes of type {', '.join(types)}, and its bundle "
            f"'{wanted.bundle.name}' takes {', '.join(taken)}: correct its types in engine.yaml"
        )
    return types


def check_names(assignments: Sequence[Assignment]) -> None:
    """See that no two of a run's assignments have the same name, by which their tasks are told apart.

    Raises:
        ConfigError: Two have.
    """
    names = [one.name for one in assignments]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(
            f"'{twice}' would run twice at once: two of the bundles and operations that were named have this name"
        )

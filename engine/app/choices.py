"""Who has the say: the command line, then engine.yaml's operation, then the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.errors import ConfigError

if TYPE_CHECKING:
    from engine.app.request import RunRequest
    from engine.backends import Backend
    from engine.bundle import Bundle
    from engine.manifest import EngineConfig
    from engine.manifest.engine_model import Operation
    from engine.run import Assignment, RunSettings


@dataclass(frozen=True, slots=True)
class Choices:
    """Resolves what several places may say.

    Attributes:
        config: The project's settings.
    """

    config: EngineConfig

    def one_model(self, bundles: Sequence[Bundle]) -> str | None:
        """Return the one model that the operations or the bundles name; the embedded backend serves no second."""
        named = {self.model(bundle) for bundle in bundles}
        named.discard(None)
        if len(named) > 1:
            raise ConfigError(
                f"these bundles name different models ({', '.join(sorted(map(str, named)))}): choose one with --model"
            )
        return next(iter(named), None)

    def model(self, bundle: Bundle) -> str | None:
        """Return the model that the operation or the bundle names."""
        operation = self.operation(bundle)
        return (operation.model if operation else None) or bundle.manifest.model.id

    def operation(self, bundle: Bundle) -> Operation | None:
        """Return the bundle's operation in engine.yaml."""
        return next((op for op in self.config.operations.values() if op.enabled and op.bundle == bundle.name), None)

    def assignment(self, bundle: Bundle, request: RunRequest, backend: Backend) -> Assignment:
        """Resolve a bundle's settings: command line, then engine.yaml's operation, then the bundle."""
        from engine.run import Assignment

        operation = self.operation(bundle)
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
            priority=operation.priority if operation else "normal",
            seed=request.seed,
        )

    def settings(self, request: RunRequest, backend: Backend) -> RunSettings:
        """Resolve how a plan is executed."""
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

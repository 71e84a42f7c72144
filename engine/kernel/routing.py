"""Which model and which adapter answer a turn.

The first of these that is there decides; what is below it is not looked at:

1. the argument `model` of `Kernel.step` and `Kernel.run`, and of the client's `run` and `stream`;
2. the `model_override` of what the context provider returned;
3. its `adapter`, None being the bare model: in a run, what the manifest's `routing` chooses;
4. the configured `adapter`: in a run, that of `--adapter`, else the manifest's `model.adapter`;
5. the configured `model` without an adapter; where there is none, the backend's default model.

A name of 1 and 2 that is one of `RuntimeConfig.adapters` is that adapter, on the configured model; any other is a model
of the server, or an adapter that the server itself lists, and answers without the adapters of 3 and 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.backends.base import Backend
from engine.errors import ConfigError
from engine.kernel.config import RuntimeConfig
from engine.models.base import Adapter


@dataclass(frozen=True, slots=True)
class Choice:
    """Who answers a turn.

    Attributes:
        model: The model; None is the backend's default.
        adapter: The adapter on it; None is the bare model.
        by_name: Whether the adapter was asked for by its name, so that to leave it out would be an error.
    """

    model: str | None = None
    adapter: Adapter | None = None
    by_name: bool = False

    def check(self, backend: Backend) -> None:
        """Refuse an adapter that was asked for by its name and cannot answer here.

        Raises:
            ConfigError: It was trained on another model, or has no files that the backend can use.
        """
        if self.by_name and self.adapter is not None and not backend.accepts(self.adapter):
            trained = f": it was trained on {self.adapter.base}" if self.adapter.base else ""
            raise ConfigError(
                f"the adapter '{self.adapter.name}' was asked for by its name, and the backend '{backend.name}' cannot "
                f"use it with its model{trained}; name another, or use a server of that model"
            )


def choose(config: RuntimeConfig, context: Mapping[str, Any], argument: str | None) -> Choice:
    """Return who answers a turn.

    Args:
        config: The configured model and adapter, and the adapters that a name may mean.
        context: What the context provider returned.
        argument: The name that the caller gave.

    Raises:
        ConfigError: The context provider returned something else than a name or an adapter.
    """
    named = argument or context.get("model_override")
    if named is not None and not isinstance(named, str):
        raise ConfigError(f"the context provider's model_override is a {type(named).__name__}: it is a name")
    if named:
        adapter = next((one for one in config.adapters if one.name == named), None)
        return Choice(named) if adapter is None else Choice(config.model, adapter, by_name=True)
    adapter = context.get("adapter", config.adapter)
    if adapter is not None and not isinstance(adapter, Adapter):
        raise ConfigError(
            f"the context provider's adapter is a {type(adapter).__name__}: it is an Adapter; a name goes into "
            f"model_override"
        )
    return Choice(config.model, adapter)

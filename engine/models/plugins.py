"""The model plugins, all of them, and how a name becomes one."""

from __future__ import annotations

from collections.abc import Callable

from engine.diagnostics import did_you_mean
from engine.errors import ConfigError
from engine.models.base import ModelPlugin
from engine.models.qwen import QwenPlugin
from engine.models.smollm import SmolLMPlugin

PLUGINS: dict[str, Callable[[], ModelPlugin]] = {
    "qwen": QwenPlugin,
    "smollm": SmolLMPlugin,
}


def get_plugin(name: str) -> ModelPlugin:
    """Return the plugin of that name.

    Raises:
        ConfigError: There is none; the message lists the names.
    """
    make = PLUGINS.get(name)
    if make is None:
        hint = did_you_mean(name, PLUGINS)
        raise ConfigError(
            f"unknown model plugin '{name}'; {hint + ' ' if hint else ''}known: {', '.join(sorted(PLUGINS))}"
        )
    return make()

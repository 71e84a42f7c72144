"""The model plugins, all of them, and how a name becomes one."""

from __future__ import annotations

from collections.abc import Callable

from engine.diagnostics import did_you_mean
from engine.errors import ConfigError
from engine.models.base import ModelPlugin
from engine.models.function_gemma import FunctionGemmaPlugin
from engine.models.llama3 import Llama3Plugin
from engine.models.openai import OpenAIPlugin
from engine.models.qwen import QwenPlugin
from engine.models.qwen_coder import QwenCoderPlugin
from engine.models.smollm import SmolLMPlugin

PLUGINS: dict[str, Callable[[], ModelPlugin]] = {
    "function_gemma": FunctionGemmaPlugin,
    "llama3": Llama3Plugin,
    "openai": OpenAIPlugin,
    "qwen": QwenPlugin,
    "qwen_coder": QwenCoderPlugin,
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

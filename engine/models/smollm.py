"""SmolLM2-Instruct: the Hermes format with ASCII-only JSON, the form that the engine's own adapters were trained on."""

from __future__ import annotations

from engine.models.hermes import HermesPlugin


class SmolLMPlugin(HermesPlugin):
    """The `smollm` family."""

    name = "smollm"
    ascii_only = True

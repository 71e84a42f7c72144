"""Qwen2.5-Instruct and Qwen3 (not Qwen3-Coder): the Hermes format, characters outside ASCII raw."""

from __future__ import annotations

from engine.models.hermes import HermesPlugin


class QwenPlugin(HermesPlugin):
    """The `qwen` family."""

    name = "qwen"

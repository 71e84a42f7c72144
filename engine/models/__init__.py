"""Model families: their messages, the way they write calls, and how their replies are read."""

from engine.models.base import Adapter, ModelPlugin
from engine.models.facade import constraint_for, format_calls, parse_reply
from engine.models.plugins import PLUGINS, get_plugin
from engine.models.qwen import QwenPlugin
from engine.models.scanner import scan_calls
from engine.models.smollm import SmolLMPlugin

__all__ = [
    "PLUGINS",
    "Adapter",
    "ModelPlugin",
    "QwenPlugin",
    "SmolLMPlugin",
    "constraint_for",
    "format_calls",
    "get_plugin",
    "parse_reply",
    "scan_calls",
]

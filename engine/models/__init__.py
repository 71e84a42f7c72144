"""Model families: their messages, the way they write calls, and how their replies are read."""

from engine.models.base import Adapter, CallMarks, ModelPlugin
from engine.models.facade import constraint_for, format_calls, parse_reply
from engine.models.function_gemma import FunctionGemmaPlugin
from engine.models.llama3 import Llama3Plugin
from engine.models.openai import OpenAIPlugin
from engine.models.plugins import PLUGINS, get_plugin
from engine.models.qwen import QwenPlugin
from engine.models.qwen_coder import QwenCoderPlugin
from engine.models.scanner import scan_calls
from engine.models.smollm import SmolLMPlugin
from engine.models.stream import ReplyReader

__all__ = [
    "PLUGINS",
    "Adapter",
    "CallMarks",
    "FunctionGemmaPlugin",
    "Llama3Plugin",
    "ModelPlugin",
    "OpenAIPlugin",
    "QwenCoderPlugin",
    "QwenPlugin",
    "ReplyReader",
    "SmolLMPlugin",
    "constraint_for",
    "format_calls",
    "get_plugin",
    "parse_reply",
    "scan_calls",
]

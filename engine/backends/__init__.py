"""Where completions come from: any OpenAI-compatible server, or the embedded llama.cpp, with its weights."""

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.backends.dialects import DIALECTS
from engine.backends.openai_backend import OpenAIBackend

__all__ = ["DIALECTS", "Backend", "Completion", "CompletionRequest", "OpenAIBackend"]

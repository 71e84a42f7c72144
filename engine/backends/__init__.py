"""Where completions come from: any OpenAI-compatible server, or the embedded llama.cpp, with its weights."""

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.backends.dialects import DIALECTS
from engine.backends.embedded import EmbeddedBackend
from engine.backends.openai_backend import OpenAIBackend
from engine.backends.weights import DEFAULT_WEIGHTS, WEIGHTS, Weights, pull, resolve_weights

__all__ = [
    "DEFAULT_WEIGHTS",
    "DIALECTS",
    "WEIGHTS",
    "Backend",
    "Completion",
    "CompletionRequest",
    "EmbeddedBackend",
    "OpenAIBackend",
    "Weights",
    "pull",
    "resolve_weights",
]

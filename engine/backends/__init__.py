"""Where completions come from: any OpenAI-compatible server, or the embedded llama.cpp, with its weights."""

from engine.backends.absent import AbsentBackend
from engine.backends.base import Backend, Completion, CompletionRequest
from engine.backends.canary import Enforcement, in_force
from engine.backends.dialects import DIALECTS
from engine.backends.embedded import EmbeddedBackend
from engine.backends.identity import identity_of
from engine.backends.openai_backend import OpenAIBackend
from engine.backends.tap import StreamTap
from engine.backends.vllm_server import VllmServer
from engine.backends.weights import DEFAULT_WEIGHTS, WEIGHTS, Weights, is_present, pull, resolve_weights

__all__ = [
    "DEFAULT_WEIGHTS",
    "DIALECTS",
    "WEIGHTS",
    "AbsentBackend",
    "Backend",
    "Completion",
    "CompletionRequest",
    "EmbeddedBackend",
    "Enforcement",
    "OpenAIBackend",
    "StreamTap",
    "VllmServer",
    "Weights",
    "identity_of",
    "in_force",
    "is_present",
    "pull",
    "resolve_weights",
]

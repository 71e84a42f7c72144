"""The dialects: how one server software spells what the OpenAI protocol leaves open."""

from engine.backends.dialects.base import Call, Dialect, Selection
from engine.backends.dialects.llama_cpp import LlamaCpp
from engine.backends.dialects.plain import Plain
from engine.backends.dialects.vllm import Vllm

DIALECTS: dict[str, Dialect] = {dialect.name: dialect for dialect in (Vllm(), LlamaCpp(), Plain())}

# What `owned_by` in /v1/models says → the dialect.
OWNERS = {"vllm": "vllm", "llamacpp": "llama_cpp", "llama.cpp": "llama_cpp"}

__all__ = ["DIALECTS", "OWNERS", "Call", "Dialect", "LlamaCpp", "Selection"]

"""The dialects: how one server software spells what the OpenAI protocol leaves open."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from engine.backends.dialects.base import Call, Dialect, Selection
from engine.backends.dialects.llama_cpp import LlamaCpp
from engine.backends.dialects.openai_api import OpenAIApi
from engine.backends.dialects.plain import Plain
from engine.backends.dialects.sglang import SgLang
from engine.backends.dialects.vllm import Vllm
from engine.backends.server_info import ServedModel

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect for dialect in (Vllm(), LlamaCpp(), SgLang(), OpenAIApi(), Plain())
}

# What `owned_by` in /v1/models says → the dialect. "openai" is missing: proxies write it for any model behind them.
OWNERS = {"vllm": "vllm", "llamacpp": "llama_cpp", "llama.cpp": "llama_cpp", "sglang": "sglang"}
# The hosts of OpenAI's own API.
_OPENAI_HOSTS = ("api.openai.com", ".api.openai.com", ".openai.azure.com")


def recognise(base_url: str, models: Sequence[ServedModel]) -> Dialect:
    """Return the dialect of a server, by its host and by what it says of its models; plain where neither tells."""
    host = urlsplit(base_url).hostname or ""
    if any(host == known or (known.startswith(".") and host.endswith(known)) for known in _OPENAI_HOSTS):
        return DIALECTS["openai"]
    owner = next((OWNERS[model.owned_by] for model in models if model.owned_by in OWNERS), "plain")
    return DIALECTS[owner]


__all__ = ["DIALECTS", "OWNERS", "Call", "Dialect", "LlamaCpp", "Selection", "recognise"]

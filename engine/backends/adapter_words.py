"""What a server answers when it does not load an adapter, in the words of `engine.errors`.

Source of the patterns: vLLM 0.32 (each measured on a running server: it answers nearly all with 500) and SGLang's
`load_lora_adapter` (400 with `error_message`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.backends.peft_files import PeftFacts
from engine.errors import BackendRejected, BundleError, EngineError
from engine.models.base import Adapter

# What vLLM's --max-lora-rank takes.
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_VLLM_WRAPPING = re.compile(r"^.*Worker failed with error '(.*)', please check the stack trace.*$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A server's answer to a request to load an adapter.

    Attributes:
        url: The server, fit to be shown.
        software: `vLLM` or `SGLang`.
        adapter: What it was to load.
        path: The path that it was given.
        facts: What the adapter's files say.
        words: What it said.
    """

    url: str
    software: str
    adapter: Adapter
    path: str
    facts: PeftFacts
    words: str

    @property
    def who(self) -> str:
        """The adapter and the server, for the beginning of a message."""
        return f"adapter {self.adapter.name!r} cannot be loaded by {self.url}"


def explain(refusal: Refusal) -> EngineError:
    """Return the error that says what to do."""
    for pattern, make in _ANSWERS:
        if pattern.search(refusal.words):
            return make(refusal)
    return BackendRejected(f"{refusal.who} from {refusal.path}: {refusal.words}")


def not_updatable(url: str, software: str, adapter: Adapter) -> EngineError:
    """Return the error for a server that has no endpoint to load adapters."""
    ways = {
        "vLLM": "start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora (engine server start does)",
        "SGLang": "start it with --enable-lora",
    }
    return BackendRejected(
        f"adapter {adapter.name!r} cannot be loaded by {url}, which has no endpoint for it: {ways[software]}, or load "
        f"it there and name it with adapters.{adapter.name}.name in bundle.yaml"
    )


def words_of(error: Any) -> str:
    """Return what the server said, in one line, without the words that vLLM wraps around its own errors."""
    body = error.body
    text: Any = body
    if isinstance(body, Mapping):
        inner = body.get("error", body)
        text = inner.get("message") or inner.get("error_message") if isinstance(inner, Mapping) else inner
        text = text or body.get("detail") or json.dumps(dict(body))
    words = _VLLM_WRAPPING.sub(r"\1", str(text or error.message))
    return " ".join(words.split())[:400]


def _not_enabled(refusal: Refusal) -> EngineError:
    how = " (engine server start does)" if refusal.software == "vLLM" else ""
    return BackendRejected(f"{refusal.who}: it was started without adapters; start it with --enable-lora{how}")


def _rank(refusal: Refusal) -> EngineError:
    rank = refusal.facts.rank
    limit = re.search(r"max_lora_rank (\d+)", refusal.words)
    needed = next((one for one in LORA_RANKS if one >= rank), rank) if refusal.software == "vLLM" else rank
    most = f" is above the server's {limit[1]}" if limit else " does not fit the server's limits"
    modules = "" if limit else " (and --lora-target-modules all, if it changes modules that the server was not told of)"
    return BackendRejected(f"{refusal.who}: its rank {rank}{most}; start it with --max-lora-rank {needed}{modules}")


def _unreadable(refusal: Refusal) -> EngineError:
    name = refusal.adapter.name
    return BackendRejected(
        f"{refusal.who}: it cannot read {refusal.path} ({refusal.words}). If it runs on another machine or in a "
        f"container, give it this folder under the same path, or load the adapter there and name it with "
        f"adapters.{name}.name in bundle.yaml"
    )


def _no_slot(refusal: Refusal) -> EngineError:
    way = "--max-loras and --max-cpu-loras" if refusal.software == "vLLM" else "--max-loaded-loras"
    return BackendRejected(
        f"{refusal.who}: it has no free slot ({refusal.words}); unload an adapter there, or start it with a "
        f"higher {way}"
    )


def _does_not_fit(refusal: Refusal) -> EngineError:
    trained = refusal.adapter.base or refusal.facts.base
    made_for = f" (it was trained on {trained})" if trained else ""
    return BundleError(
        f"{refusal.who}: its weights do not fit the model there{made_for}: {refusal.words}. Serve the model that it "
        f"was trained on, or run with --adapter none"
    )


def _unsupported(refusal: Refusal) -> EngineError:
    return BundleError(f"{refusal.who}: {refusal.words} Train a plain LoRA adapter, or run with --adapter none")


_ANSWERS: tuple[tuple[re.Pattern[str], Callable[[Refusal], EngineError]], ...] = (
    (re.compile(r"LoRA is not enabled|--enable-lora"), _not_enabled),
    (re.compile(r"greater than max_lora_rank|LoRA memory pool configuration"), _rank),
    (
        re.compile(r"[Nn]o free lora slots|Maximum number of loaded|max.loaded.loras|are pinned|greater than .*slots"),
        _no_slot,
    ),
    (
        re.compile(r"must match the size of|expected target modules|size mismatch|shape mismatch|mat1 and mat2"),
        _does_not_fit,
    ),
    (
        re.compile(r"No adapter found|doesn't contain tensors|No such file|Not a directory|Permission denied"),
        _unreadable,
    ),
    (re.compile(r"(does not|doesn't) (yet )?support|only supports|not supported"), _unsupported),
)

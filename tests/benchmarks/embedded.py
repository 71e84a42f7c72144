"""Tokens per second of the embedded backend, beside llama.cpp driven directly in a process of its own.

Both use the same weights, threads, slots, prompts and grammar, in turns; a reply that differs between them is an error.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from engine.grammar.constraint import ConstraintOptions
from engine.messages import ToolSchema
from engine.models import get_plugin
from tests.benchmarks.harness import Aim, Row, Sample, Scale, in_turns, middle, ms_cpu
from tests.benchmarks.worker import Worker, worker

_TOOL = ToolSchema(
    "write_docstring",
    "Write the docstring of the function.",
    {
        "type": "object",
        "properties": {
            "summary": {"type": "string", "minLength": 80, "maxLength": 300},
            "returns": {"type": "string", "minLength": 80, "maxLength": 200},
        },
        "required": ["summary", "returns"],
        "additionalProperties": False,
    },
)
_MAX_TOKENS = 96
_CODE = """def {name}(items: list[dict[str, float]], limit: float = {limit}) -> dict[str, float]:
    totals = {{}}
    for item in items:
        for key, value in item.items():
            if value > limit:
                totals[key] = totals.get(key, 0.0) + value * {limit}
    return totals
"""


def run(scale: Scale) -> list[Row]:
    from engine.backends import EmbeddedBackend, Weights, pull, resolve_weights

    pull()
    weights: Weights = resolve_weights()
    settings = EmbeddedBackend(weights)._supervisor.settings
    shared = {"threads": settings.threads, "slots": settings.parallel, "n_ctx": settings.n_ctx}
    with (
        worker("embedded:Ours", **shared) as ours,
        worker("embedded:Bare", path=str(weights.path), **shared) as bare,
    ):
        rows = []
        for at_once in (1, settings.parallel):
            orders = {"ours": _Orders(ours, at_once, scale), "bare": _Orders(bare, at_once, scale)}
            samples = in_turns({name: order.next for name, order in orders.items()}, scale.pick(10, 1))
            rows += _rows(samples, at_once, f"SmolLM2-135M, {settings.threads} thread(s), {settings.parallel} slots")
    return rows


class _Orders:
    """Gives each candidate the same prompts in the same order, none of them twice."""

    def __init__(self, candidate: Worker, at_once: int, scale: Scale) -> None:
        self._candidate, self._at_once, self._each = candidate, at_once, scale.pick(2, 1)
        self._next = at_once * 100_000

    def next(self) -> Sample:
        numbers = list(range(self._next, self._next + self._each * self._at_once))
        self._next += len(numbers)
        return self._candidate.measure(numbers=numbers, at_once=self._at_once)


def _rows(samples: dict[str, list[Sample]], at_once: int, note: str) -> list[Row]:
    ours, bare = samples["ours"], samples["bare"]
    if at_once == 1 and [one.extra for one in ours] != [other.extra for other in bare]:
        raise RuntimeError("the two wrote different replies, so they did not do the same work")
    name = "one request at a time" if at_once == 1 else f"{at_once} requests at once"
    return [
        Row(
            "Embedded model", name, "tokens/s", "bare llama.cpp",
            middle(ours, _rate), middle(bare, _rate), Aim("ratio", ">=", 0.95), note,
        ),
        Row(
            "Embedded model", f"{name}, CPU per token", "ms", "bare llama.cpp",
            middle(ours, ms_cpu), middle(bare, ms_cpu),
        ),
    ]  # fmt: skip


def _rate(sample: Sample) -> float:
    return sample.amount / sample.wall


def prompt(number: int) -> list[dict[str, Any]]:
    """Return the wire messages of a prompt that nothing has in its cache beyond the system turn."""
    code = _CODE.format(name=f"sum_{number}_above", limit=number % 89)
    return get_plugin("smollm").build_messages(f"Document this function:\n{code}", "You document code.", [_TOOL], [])


class _Asking:
    """Asks with so many requests at once; the amount is the tokens generated."""

    async def ask(self, number: int) -> tuple[str, int]:
        raise NotImplementedError

    async def work(self, numbers: Sequence[int], at_once: int) -> tuple[float, dict[str, float]]:
        gate = asyncio.Semaphore(at_once)

        async def one(number: int) -> tuple[str, int]:
            async with gate:
                return await self.ask(number)

        answers = await asyncio.gather(*map(one, numbers))
        digest = sha256("\n".join(text for text, _ in answers).encode()).hexdigest()
        return sum(tokens for _, tokens in answers), {"digest": float(int(digest[:12], 16))}


class Ours(_Asking):
    """EmbeddedBackend."""

    def __init__(self, threads: int, slots: int, n_ctx: int) -> None:
        from engine.backends import EmbeddedBackend, resolve_weights

        self._backend = EmbeddedBackend(resolve_weights(), threads=threads, parallel=slots, n_ctx=n_ctx)
        self._constraint = _constraint()

    async def open(self) -> None:
        await self.ask(0)

    async def ask(self, number: int) -> tuple[str, int]:
        from engine.backends import CompletionRequest
        from engine.manifest.bundle_model import Sampling

        sampling = Sampling(max_tokens=_MAX_TOKENS)
        request = CompletionRequest(prompt(number), constraint=self._constraint, sampling=sampling)
        answer = await self._backend.complete(request)
        return answer.text, answer.usage.completion_tokens

    async def close(self) -> None:
        await self._backend.aclose()


class Bare(_Asking):
    """xllamacpp's server object, called in this process."""

    def __init__(self, path: str, threads: int, slots: int, n_ctx: int) -> None:
        from xllamacpp import CommonParams

        params = CommonParams()
        params.model.path = path
        params.n_parallel, params.n_ctx = slots, n_ctx * slots
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        params.cache_ram_mib = 0
        params.verbosity = 0
        self._params = params
        self._grammar = _constraint().value

    async def open(self) -> None:
        from xllamacpp import Server

        self._server = Server(self._params)
        await self.ask(0)

    async def ask(self, number: int) -> tuple[str, int]:
        body = {
            "messages": prompt(number), "grammar": self._grammar, "temperature": 0.0, "top_p": 1.0,
            "max_tokens": _MAX_TOKENS,
        }  # fmt: skip
        answer = await asyncio.to_thread(self._server.handle_chat_completions, body)
        return answer["choices"][0]["message"]["content"], answer["usage"]["completion_tokens"]

    async def close(self) -> None:
        """The server ends with the process."""


def _constraint() -> Any:
    return get_plugin("smollm").constraint([_TOOL], ConstraintOptions(mode="ebnf"))

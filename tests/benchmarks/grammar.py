"""From tools to a compiled grammar and its token masks, beside the structural tag that xgrammar builds of them.

Both sides get the same tools, vocabulary (that of the default weights) and threads, and a compiler that caches, as that
of vLLM: new for the first compile, then asked for tools of other names. The masks are those of one correct call, token
by token: what a server pays for every token of every request.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from engine.messages import ToolCall, ToolSchema
from engine.models import constraint_for, format_calls
from tests.benchmarks.harness import Row, Sample, Scale, in_turns, middle
from tests.benchmarks.worker import worker

MODES = ("ebnf", "structural_tag")
_PEER = "xgrammar's own tag"
# What the rows say, the figure of a sample, and the unit.
_FIGURES = (
    ("build", "build", "ms"),
    ("build again, cached", "again", "ms"),
    ("first compile", "compile", "ms"),
    ("compile for other tools", "other", "ms"),
    ("build and first compile", "total", "ms"),
    ("one token's mask", "mask", "µs"),
)


def run(scale: Scale) -> list[Row]:
    from engine.backends import pull

    vocabulary = str(pull())
    with ExitStack() as stack:
        ours = stack.enter_context(worker("grammar:Ours", vocabulary=vocabulary))
        theirs = stack.enter_context(worker("grammar:BuiltIn", vocabulary=vocabulary))
        rows: list[Row] = []
        for count in (1, 5, 50):
            orders = {mode: _Orders(ours, count, mode, scale) for mode in MODES}
            orders[_PEER] = _Orders(theirs, count, "", scale)
            samples = in_turns(
                {name: order.next for name, order in orders.items()}, scale.pick(3, 1), warm_up=not scale.quick
            )
            rows += [row for mode in MODES for row in _rows(count, mode, samples[mode], samples[_PEER])]
    return rows


class _Orders:
    """Asks for tools that nobody has seen."""

    def __init__(self, candidate: Any, count: int, mode: str, scale: Scale) -> None:
        self._candidate, self._order = candidate, {"count": count, "mode": mode, "calls": scale.pick(3, 1)}
        self._series = count * 1_000_000

    def next(self) -> Sample:
        self._series += 2
        return self._candidate.measure(**self._order, series=self._series)


def _rows(count: int, mode: str, ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[Row]:
    def figure(samples: Sequence[Sample], key: str) -> float:
        return middle(samples, lambda sample: sample.extra[key])

    notes = {
        "build": f"{figure(ours, 'size'):.0f} characters, of the peer {figure(theirs, 'size'):.0f}",
        "compile": f"{figure(ours, 'memory'):.0f} KiB compiled, of the peer {figure(theirs, 'memory'):.0f} KiB",
        "mask": f"The slowest of a call {figure(ours, 'slowest'):.0f} µs, of the peer {figure(theirs, 'slowest'):.0f}",
    }
    what = f"{count} tool{'s' * (count > 1)}, {mode}"
    return [
        Row("Grammar", f"{what}: {name}", unit, _PEER, figure(ours, key), figure(theirs, key), None, notes.get(key, ""))
        for name, key, unit in _FIGURES
    ]


def sample_tools(count: int, series: int) -> list[ToolSchema]:
    """Return tools whose names occur in no other series; each second one has a nested object."""
    return [_tool(f"edit_{series}_{number}", nested=number % 2 == 1) for number in range(count)]


def _tool(name: str, *, nested: bool) -> ToolSchema:
    properties: dict[str, Any] = {
        "path": {"type": "string", "maxLength": 200},
        "text": {"type": "string"},
        "line": {"type": "integer", "minimum": 1, "maximum": 100_000},
        "mode": {"enum": ["insert", "replace", "delete"]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 40}, "maxItems": 8},
        "strict": {"type": "boolean"},
    }
    if nested:
        span = {"start": {"type": "integer", "minimum": 0}, "end": {"type": "integer", "minimum": 0}}
        properties["span"] = {
            "type": "object", "properties": span, "required": ["start", "end"], "additionalProperties": False,
        }  # fmt: skip
    required = ["path", "text", "line", "mode"]
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return ToolSchema(name, "Edit a file.", schema)


def sample_call(tool: ToolSchema) -> str:
    """Return a correct call as the model writes it."""
    text = "def area(width: float, height: float) -> float:\n    return width * height\n"
    arguments = {"path": "src/shop/geometry.py", "text": text, "line": 42, "mode": "replace", "tags": ["typing"]}
    return format_calls([ToolCall("1", tool.name, arguments)], "qwen", [tool])


class _Candidate:
    """Builds, compiles and fills masks; the figures are milliseconds, masks microseconds."""

    def __init__(self, vocabulary: str) -> None:
        self._path = vocabulary

    async def open(self) -> None:
        import xgrammar

        names, merges, end = _vocabulary(self._path)
        self._encode = _encoder(names, merges)
        info = xgrammar.TokenizerInfo(names, xgrammar.VocabType.BYTE_LEVEL, stop_token_ids=[end])
        self._make = lambda: xgrammar.GrammarCompiler(info, max_threads=2)
        self._mask = xgrammar.allocate_token_bitmask(1, len(names))

    def build(self, tools: Sequence[ToolSchema], mode: str) -> str:
        """Return what is sent to a server."""
        raise NotImplementedError

    def compile(self, compiler: Any, text: str, mode: str) -> Any:
        """Return the compiled grammar."""
        raise NotImplementedError

    async def work(self, count: int, mode: str, calls: int, series: int) -> tuple[float, dict[str, float]]:
        tools, others = sample_tools(count, series), sample_tools(count, series + 1)
        figures: dict[str, float] = {}

        def timed(name: str, step: Callable[[], Any]) -> Any:
            began = time.perf_counter()
            done = step()
            figures[name] = (time.perf_counter() - began) * 1000
            return done

        text = timed("build", lambda: self.build(tools, mode))
        timed("again", lambda: self.build(tools, mode))
        compiler, other = self._make(), self.build(others, mode)
        compiled = timed("compile", lambda: self.compile(compiler, text, mode))
        timed("other", lambda: self.compile(compiler, other, mode))
        figures["total"] = figures["build"] + figures["compile"]
        sizes = {"size": len(text), "memory": compiled.memory_size_bytes / 1024}
        return 1, figures | sizes | self._masks(compiled, sample_call(tools[-1]), calls)

    def _masks(self, compiled: Any, call: str, times: int) -> dict[str, float]:
        import xgrammar

        taken: list[float] = []
        for _ in range(times):
            matcher = xgrammar.GrammarMatcher(compiled)
            for token in self._encode(call):
                began = time.perf_counter()
                matcher.fill_next_token_bitmask(self._mask)
                taken.append((time.perf_counter() - began) * 1e6)
                if not matcher.accept_token(token):
                    raise RuntimeError(f"a correct call is refused: {call!r}")
            if not matcher.is_completed():
                raise RuntimeError(f"a whole call does not complete the grammar: {call!r}")
        return {"mask": sum(taken) / len(taken), "slowest": max(taken)}

    async def close(self) -> None:
        """Nothing is held open."""


class Ours(_Candidate):
    """The engine's typed strategy for the Hermes format."""

    def build(self, tools: Sequence[ToolSchema], mode: Any) -> str:
        value = constraint_for(tools, plugin="qwen", strategy="typed", mode=mode, matcher="xgrammar").value
        return value if isinstance(value, str) else json.dumps(value)

    def compile(self, compiler: Any, text: str, mode: str) -> Any:
        return compiler.compile_grammar(text) if mode == "ebnf" else compiler.compile_structural_tag(text)


class BuiltIn(_Candidate):
    """xgrammar's structural tag of the same format: one call, required, no reasoning."""

    def build(self, tools: Sequence[ToolSchema], mode: str) -> str:
        from xgrammar import get_model_structural_tag

        declared = [
            {"type": "function", "function": {"name": tool.name, "parameters": tool.parameters, "strict": True}}
            for tool in tools
        ]
        tag = get_model_structural_tag(
            "qwen_3", declared, "required", reasoning="disabled", parallel_tool_calls=False
        )  # fmt: skip
        return tag.model_dump_json()

    def compile(self, compiler: Any, text: str, mode: str) -> Any:
        return compiler.compile_structural_tag(text)


def _vocabulary(path: str) -> tuple[list[str], list[str], int]:
    """Return the tokens, the merges and the token that ends a turn, of a GGUF file."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    names, merges, end = (
        fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "merges", "eos_token_id")
    )  # fmt: skip
    return names, merges, end


def _encoder(names: Sequence[str], merges: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE({name: number for number, name in enumerate(names)}, pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return lambda text: tokenizer.encode(text).ids

"""Tokens per second under a typed grammar of five tools, beside the same model without a constraint.

Every reply has the same number of tokens, and the prompts are in the server's cache: what is compared is generation.
The bodies are the engine's, sent by a bare load generator.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from engine.backends.dialects import DIALECTS
from engine.grammar.constraint import NO_CONSTRAINT, Constraint, Matcher
from engine.messages import ToolSchema
from engine.models import constraint_for, get_plugin
from tests.benchmarks.harness import Row, Sample, Scale, in_turns, middle
from tests.benchmarks.servers import Server, llama, vllm
from tests.benchmarks.worker import Worker, worker

_NONE = "no constraint"
_MODES: dict[str, tuple[str, ...]] = {"llama_cpp": ("ebnf",), "vllm": ("ebnf", "structural_tag")}
_AT_ONCE = {"llama_cpp": (1, 2), "vllm": (1, 8)}
_PLUGIN = "smollm"


def run(scale: Scale) -> list[Row]:
    return [*on_llama(scale), *on_vllm(scale)]


def on_llama(scale: Scale) -> list[Row]:
    """Measure the embedded runtime."""
    with llama() as server:
        return _measure(server, scale)


def on_vllm(scale: Scale) -> list[Row]:
    """Measure vLLM; where there is none, the rows say why."""
    with vllm() as server:
        if not isinstance(server, str):
            return _measure(server, scale)
    return [
        Row("Constrained", _name("vLLM", at_once, mode), "tokens/s", _NONE, None, None, None, server)
        for at_once in _AT_ONCE["vllm"]
        for mode in _MODES["vllm"]
    ]


def _measure(server: Server, scale: Scale) -> list[Row]:
    tools, length = [_tool(number) for number in range(5)], scale.pick(64, 16)
    matcher: Matcher = "any" if server.dialect == "llama_cpp" else "xgrammar"
    constraints: dict[str, Constraint] = {_NONE: NO_CONSTRAINT} | {
        mode: constraint_for(tools, _PLUGIN, mode=mode, matcher=matcher)  # type: ignore[arg-type]  # a row's name
        for mode in _MODES[server.dialect]
    }
    rows: list[Row] = []
    with worker("load:Load", url=server.url, headers=server.headers) as load:
        for at_once in _AT_ONCE[server.dialect]:
            count = scale.pick(max(3, at_once), 1)
            candidates = {
                name: _order(load, [_body(server, tools, one, number, length) for number in range(count)], at_once)
                for name, one in constraints.items()
            }
            samples = in_turns(candidates, scale.pick(3, 1))
            _check(samples, count * length)
            rows += _rows(server, at_once, samples, length)
    return rows


def _rows(server: Server, at_once: int, samples: dict[str, list[Sample]], length: int) -> list[Row]:
    free = middle(samples.pop(_NONE), _rate)
    note = f"{server.about}, typed grammar of 5 tools, {length} tokens a reply"
    return [
        Row("Constrained", _name(server.name, at_once, mode), "tokens/s", _NONE, middle(found, _rate), free, None, note)
        for mode, found in samples.items()
    ]


def _name(server: str, at_once: int, mode: str) -> str:
    return f"{server}, {at_once} at once, {mode}"


def _rate(sample: Sample) -> float:
    return sample.extra["tokens"] / sample.wall


def _order(load: Worker, bodies: Sequence[str], at_once: int) -> Any:
    return lambda: load.measure(bodies=bodies, at_once=at_once)


def _check(samples: dict[str, list[Sample]], tokens: int) -> None:
    for name, found in samples.items():
        if any(sample.extra["tokens"] != tokens for sample in found):
            raise RuntimeError(f"{name}: a reply ended early, so the two did not do the same work")


def _body(server: Server, tools: Sequence[ToolSchema], constraint: Constraint, number: int, length: int) -> str:
    asked = f"Write down order {number}: three lamps for the shop in Lindau, before Friday, paid by card."
    body = {
        "model": server.model,
        "messages": get_plugin(_PLUGIN).build_messages(asked, "You keep the books of a shop.", tools, []),
        "temperature": 0.0, "top_p": 1.0, "max_tokens": length, "ignore_eos": True,
    }  # fmt: skip
    return json.dumps(body | DIALECTS[server.dialect].constrain(constraint))


def _tool(number: int) -> ToolSchema:
    """Return a tool whose shortest call is longer than a measured reply."""
    text = {"type": "string", "maxLength": 80}
    properties: dict[str, Any] = {f"{word}_{number}": text for word in ("customer", "article", "remark", "street")}
    properties |= {
        "amount": {"type": "integer", "minimum": 1, "maximum": 9999},
        "payment": {"enum": ["card", "cash", "invoice"]},
        "labels": {"type": "array", "items": text, "minItems": 1, "maxItems": 4},
        "gift_wrapping": {"type": "boolean"},
        "delivery_address": text,
        "accounting_reference": text,
    }
    schema = {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip
    return ToolSchema(f"record_order_{number}", f"Record an order in book {number}.", schema)

"""Whole tasks of two turns and a tool call against a server that answers at once, beside other clients' bare turns."""

from __future__ import annotations

from contextlib import ExitStack
from importlib.util import find_spec

from tests.benchmarks.harness import Aim, Row, Sample, Scale, in_turns, middle, ms_cpu
from tests.benchmarks.instant_server import instant_server
from tests.benchmarks.worker import Worker, worker

_PLAIN = {
    "engine": ("task_clients:EngineTasks", {}),
    "openai SDK": ("run_clients:OpenAIRun", {}),
    "openai[aiohttp], raw responses": ("run_clients:RawOpenAIRun", {}),
    "Pydantic AI": ("run_clients:PydanticAIRun", {}),
    "LangGraph": ("task_clients:LangGraphRun", {}),
}
_STREAMING = {
    "engine": ("task_clients:EngineTasks", {"streaming": True}),
    "openai SDK": ("task_clients:OpenAIStream", {}),
    "openai[aiohttp], raw responses": ("task_clients:RawOpenAIStream", {}),
    "Pydantic AI": ("task_clients:PydanticAIStream", {}),
    "LangGraph": ("task_clients:LangGraphRun", {"streaming": True}),
}
_NEEDS = {
    "Pydantic AI": ("pydantic_ai", "pydantic-ai-slim[openai]"),
    "LangGraph": ("langgraph", "langgraph and langchain-openai"),
}
_AIMS = {name: Aim("ratio", "<=", 1.0) for name in ("openai SDK", "Pydantic AI", "LangGraph")}


def run(scale: Scale) -> list[Row]:
    rows: list[Row] = []
    for way, peers in (("plain", _PLAIN), ("streaming", _STREAMING)):
        there = [name for name in peers if name not in _NEEDS or find_spec(_NEEDS[name][0])]
        with ExitStack() as stack:
            url = stack.enter_context(instant_server())
            workers = {name: stack.enter_context(worker(peers[name][0], url=url, **peers[name][1])) for name in there}
            for at_once, count in ((1, scale.pick(128, 2)), (64, scale.pick(512, 8))):
                candidates = {name: _order(each, count, at_once) for name, each in workers.items()}
                rows += _rows(f"{way}, {at_once} at once", in_turns(candidates, scale.pick(5, 1)))
    return rows


def _order(candidate: Worker, count: int, at_once: int):
    return lambda: candidate.measure(count=count, at_once=at_once)


def _rows(way: str, samples: dict[str, list[Sample]]) -> list[Row]:
    figures = {name: middle(found, ms_cpu) for name, found in samples.items()}
    ours = figures.pop("engine")
    note = f"Of these {ours:.2f} ms {_share(samples['engine'], 'planned'):.2f} ms are the plan, and the sandbox "
    note += f"processes take {ours - _share(samples['engine'], 'own'):.2f} ms."
    rows = []
    for peer in _PLAIN:
        if peer == "engine":
            continue
        there = peer in figures
        missing = "" if there else f"{_NEEDS[peer][1]} not installed, so it was left out"
        rows.append(
            Row(
                "Tasks", f"{way}, beside {peer}", "CPU ms", peer, ours if there else None, figures.get(peer),
                _AIMS.get(peer), note if there else missing,
            )
        )  # fmt: skip
        note = ""
    return rows


def _share(samples: list[Sample], name: str) -> float:
    return middle(samples, lambda sample: sample.extra[name] * 1000 / sample.amount)

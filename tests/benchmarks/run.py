"""One run of two turns and a tool call against a server that answers at once, beside other clients doing the same."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from importlib.util import find_spec

from tests.benchmarks.harness import Aim, Row, Sample, Scale, in_turns, middle, ms_cpu
from tests.benchmarks.instant_server import instant_server
from tests.benchmarks.worker import Worker, worker

_PEERS = {
    "engine": "run_clients:EngineRun",
    "engine, Python tool": "run_clients:EngineRun",
    "openai SDK": "run_clients:OpenAIRun",
    "openai[aiohttp], raw responses": "run_clients:RawOpenAIRun",
    "Pydantic AI": "run_clients:PydanticAIRun",
}
_AIMS = {"openai SDK": Aim("ratio", "<=", 1.2), "Pydantic AI": Aim("ratio", "<=", 0.5)}
_MISSING = "pydantic-ai-slim[openai] is not installed, so it was left out"


def run(scale: Scale) -> list[Row]:
    names = [name for name in _PEERS if name != "Pydantic AI" or find_spec("pydantic_ai")]
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = stack.enter_context(instant_server())
        workers = {name: stack.enter_context(worker(_PEERS[name], **_arguments(name, url, folder))) for name in names}
        rows: list[Row] = []
        for way, count, at_once in (
            ("one after the other", scale.pick(100, 2), 1),
            ("64 at once", scale.pick(256, 8), 64),
        ):
            candidates = {name: _order(each, count, at_once) for name, each in workers.items()}
            rows += _rows(way, in_turns(candidates, scale.pick(7, 1)))
    return rows


def _arguments(name: str, url: str, folder: str) -> dict[str, str | bool]:
    if not name.startswith("engine"):
        return {"url": url}
    return {"url": url, "log": f"{folder}/{len(name)}.db", "sandbox": name == "engine"}


def _order(candidate: Worker, count: int, at_once: int):
    return lambda: candidate.measure(count=count, at_once=at_once)


def _rows(way: str, samples: dict[str, list[Sample]]) -> list[Row]:
    figures = {name: middle(found, ms_cpu) for name, found in samples.items()}
    ours, other_tool = figures.pop("engine"), figures.pop("engine, Python tool")
    own = middle(samples["engine"], lambda sample: sample.extra["own"] * 1000 / sample.amount)
    note = f"Of these {ours:.2f} ms the sandbox processes take {ours - own:.2f} ms."
    rows = []
    for peer in _PEERS:
        if not peer.startswith("engine"):
            missing = peer not in figures
            rows.append(
                Row(
                    "Run", f"{way}, beside {peer}", "CPU ms", peer, None if missing else ours, figures.get(peer),
                    _AIMS.get(peer), _MISSING if missing else note,
                )
            )  # fmt: skip
            note = ""
    name = f"{way}, with a Python tool instead of .pym"
    return [*rows, Row("Run", name, "CPU ms", "openai SDK", other_tool, figures["openai SDK"])]

"""Completed requests per second of `engine run`, beside a bare load generator that sends the very same requests.

The engine's side is the whole command, from the start of its process to its end: imports, discovery, the canary, the
event log, the sandbox, the checks and the change store. A first run goes through a recorder; so its bodies are there to
send, and every prompt is in the server's cache, before anything is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import ROOT, Aim, Row, Sample, Scale, in_turns, middle, ms_cpu, stopwatch
from tests.benchmarks.recorder import recorder
from tests.benchmarks.samples import FUNCTION
from tests.benchmarks.servers import Server, llama, vllm
from tests.benchmarks.worker import Worker, worker
from tests.projects import make_bundle, make_project

_PEER = "bare load generator"
_SYSTEM = "You comment functions. Say in one sentence what the function does."
_KEY = "ENGINE_BENCHMARK_KEY"
_MANIFEST = f"""\
format: 1
name: note
version: 1.0.0
description: Puts a comment above the first line of a function's body.
model: {{plugin: smollm, sampling: {{max_tokens: 96}}}}
prompts:
  system: {{text: {_SYSTEM}}}
  user: prompts/user.md.j2
nodes: {{languages: [python], types: [function]}}
tools:
  - path: tools/add_comment.pym
    inputs: {{comment: {{max_length: 80}}}}
loop: {{max_turns: 1, termination_tool: add_comment}}
permissions: {{read: ["**/*"], write: ["**/*.py"]}}
checks: [parses]
"""
_KINDS = ("model:requested", "task:finished")
_STARTING = "Python, imports, discovery, the canary, the stores"
# Tasks at 1, 4 and 16 at once: half a minute of vLLM on two cores, so that the start-up weighs as in a real run, and
# 8 s of llama.cpp, whose whole command is therefore shown without an aim.
_TASKS: dict[str, Mapping[int, int]] = {"vllm": {1: 40, 4: 140, 16: 300}, "llama_cpp": {1: 20, 4: 20, 16: 20}}
_QUICK: Mapping[int, int] = {1: 1, 4: 2, 16: 3}

_AIM = Aim("ratio", ">=", 0.95)
_FIGURES = {
    "the whole command": "requests/s",
    "after its start-up": "requests/s",
    "start-up and end": "s",
    "CPU per request": "ms",
}
# The figure that the aim is for, by the server's dialect.
_AIMED = {"vllm": "the whole command", "llama_cpp": "after its start-up"}


def run(scale: Scale) -> list[Row]:
    return [*on_vllm(scale), *on_llama(scale)]


def on_vllm(scale: Scale) -> list[Row]:
    """Measure vLLM; where there is none, the rows say why."""
    with vllm() as server:
        if not isinstance(server, str):
            return _measure(server, scale)
    return [
        Row("Throughput", f"vLLM, {at_once} at once: {what}", unit, _PEER, None, None, _aim("vllm", what), server)
        for at_once in _QUICK
        for what, unit in _FIGURES.items()
    ]


def on_llama(scale: Scale) -> list[Row]:
    """Measure the embedded runtime."""
    with llama() as server:
        return _measure(server, scale)


def _measure(server: Server, scale: Scale) -> list[Row]:
    counts = _QUICK if scale.quick else _TASKS[server.dialect]
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        worker("load:Load", url=server.url, headers=server.headers) as load,
    ):
        command = _Command(server, Path(folder), max(counts.values()))
        bodies = command.record(max(counts.values()))
        for level, (at_once, count) in enumerate(counts.items()):
            candidates = [("ours", command.order(count, at_once)), (_PEER, _order(load, bodies[:count], at_once))]
            # One round of half a minute each, the other one first at each level.
            samples = in_turns(dict(candidates[:: (1, -1)[level % 2]]), 1, warm_up=False)
            rows += _rows(server, at_once, samples["ours"], samples[_PEER])
    return rows


def _order(load: Worker, bodies: Sequence[str], at_once: int) -> Any:
    return lambda: load.measure(bodies=bodies, at_once=at_once)


def _rows(server: Server, at_once: int, ours: Sequence[Sample], theirs: Sequence[Sample]) -> list[Row]:
    def part(key: str) -> float:
        return middle(ours, lambda sample: sample.extra[key])

    name = f"{server.name}, {at_once} at once"
    requests, tokens = ours[0].amount, part("tokens") / middle(theirs, lambda sample: sample.extra["tokens"])
    figures: dict[str, tuple[float, float | None]] = {
        "the whole command": (middle(ours, _rate), middle(theirs, _rate)),
        "after its start-up": (requests / part("working"), middle(theirs, _rate)),
        "start-up and end": (middle(ours, lambda sample: sample.wall - sample.extra["working"]), None),
        "CPU per request": (middle(ours, ms_cpu), middle(theirs, ms_cpu)),
    }
    notes = {
        "the whole command": f"{requests:.0f} tasks in {middle(ours, _wall):.1f} s, of the peer "
        f"{middle(theirs, _wall):.1f} s; {tokens:.3f} times its tokens; {server.about}",
        "start-up and end": f"{part('before'):.2f} s before the first request of a task: {_STARTING}",
    }
    return [
        Row(
            "Throughput", f"{name}: {what}", unit, _PEER, *figures[what],
            _aim(server.dialect, what), notes.get(what, ""),
        )
        for what, unit in _FIGURES.items()
    ]  # fmt: skip


def _aim(dialect: str, what: str) -> Aim | None:
    return _AIM if _AIMED[dialect] == what else None


def _wall(sample: Sample) -> float:
    return sample.wall


def _rate(sample: Sample) -> float:
    return sample.amount / sample.wall


class _Command:
    """`engine run` in a project of its own.

    Args:
        server: The server.
        folder: Gets the project and the bundle.
        functions: How many functions, and so tasks, the project has.
    """

    def __init__(self, server: Server, folder: Path, functions: int) -> None:
        self._server, self._project = server, folder / "project"
        self._bundle = make_bundle(folder / "note", _MANIFEST)
        make_project(self._project, _files(functions))
        key = f", api_key_env: {_KEY}" if server.key else ""
        settings = f"backend: {{kind: openai, base_url: {server.url}, dialect: {server.dialect}{key}}}\n"
        (self._project / "engine.yaml").write_text(settings)
        self._environment = {**os.environ, **({_KEY: server.key} if server.key else {})}

    def record(self, count: int) -> list[str]:
        """Run all tasks once and return the bodies of their requests, in the order of the tasks."""
        with recorder(self._server.url) as recorded:
            self._run(count, 16, recorded.url)
        bodies = [body for body in recorded.bodies if _SYSTEM in body]
        if len(bodies) != count:
            raise RuntimeError(f"{count} tasks sent {len(bodies)} requests")
        return sorted(bodies, key=lambda body: int(body.partition("def total_")[2].partition("(")[0]))

    def order(self, count: int, at_once: int) -> Any:
        """Return what measures one run of the first tasks."""
        return lambda: self._measured(count, at_once)

    def _measured(self, count: int, at_once: int) -> Sample:
        shutil.rmtree(self._project / ".engine", ignore_errors=True)
        began = time.time()
        with stopwatch() as figures:
            events = self._run(count, at_once, self._server.url)
        times = {kind: [event["time"] for event in events if event.get("type") == kind] for kind in _KINDS}
        usage = [event["usage"]["completion_tokens"] for event in events if event.get("type") == "model:responded"]
        if len(usage) != count or len(times["task:finished"]) != count:
            raise RuntimeError(f"{count} tasks had {len(usage)} replies")
        first, last = min(times["model:requested"]), max(times["task:finished"])
        extra = {"tokens": sum(usage), "working": last - first, "before": first - began}
        return Sample(figures["wall"], figures["cpu"], count, extra)

    def _run(self, count: int, at_once: int, url: str) -> list[dict[str, Any]]:
        argv = [sys.executable, "-m", "engine", "run", self._bundle, "--target", ".", "--json", "--base-url", url]
        argv += ["--limit", str(count), "--concurrency", str(at_once), "--project", "."]
        environment = {**self._environment, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(argv, cwd=self._project, env=environment, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1):  # 1: the checks refused a change
            raise RuntimeError(f"engine run failed: {done.stderr[-2000:]}")
        return [json.loads(line) for line in done.stdout.splitlines()]


def _files(functions: int) -> dict[str, str]:
    """Return sources with so many functions, eight in a file; their numbers sort as their places do."""
    each, texts = 8, [FUNCTION.format(n=1000 + number) for number in range(functions)]
    starts = range(0, functions, each)
    return {f"src/part_{1000 + start}.py": "\n\n".join(texts[start : start + each]) for start in starts}

"""A run in a process of its own against a backend that answers at once, to see how much memory it takes.

`python -m tests.benchmarks.memory COUNT FOLDER` runs COUNT tasks in a project that it makes in FOLDER, and prints JSON:
the peak of the resident memory in MB when everything was planned and at the end, and how long the run took.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from engine.app import App, RunRequest
from engine.backends import Completion
from engine.manifest import EngineConfig
from engine.messages import Message, ToolCall, Usage
from engine.models import QwenPlugin
from tests.benchmarks.cached import make_docs_bundle, make_functions
from tests.benchmarks.harness import ROOT, Aim, Row, Scale

_CALL = QwenPlugin().format_calls([ToolCall("1", "write_docstring", {"summary": "Sum up."})])


class InstantBackend:
    """Answers each request with the same call."""

    name, url, concurrency = "instant", "the instant backend", 64

    def accepts(self, adapter: object) -> bool:
        return True

    async def model_name(self) -> str:
        return "m"

    async def software(self) -> str:
        return "a script"

    async def kinds(self) -> tuple[str, ...]:
        return ()

    async def spelled(self, constraint: object) -> dict[str, Any]:
        return {}

    async def prepare(self, adapters: object, models: object = ()) -> None:
        pass

    async def complete(self, request: object) -> Completion:
        await asyncio.sleep(0)
        return Completion(_CALL, usage=Usage(240, 24), model="m")

    async def stream(self, request: object) -> AsyncIterator[Any]:
        yield await self.complete(request)

    async def count_tokens(self, messages: list[Message]) -> None:
        return None

    async def aclose(self) -> None:
        pass


def run(scale: Scale) -> list[Row]:
    count = scale.pick(100_000, 200)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(count, Path(folder))
    return [
        Row(
            "Memory", f"peak of a run of {count} tasks, answers at once", "MB", "the same, when it was planned",
            found["peak"], found["planned"], Aim("ours", "<=", 400), f"The run took {found['seconds']:.0f} s.",
        )
    ]  # fmt: skip


def measured(count: int, folder: Path) -> dict[str, float]:
    """Run this module in a process of its own and return what it prints."""
    argv = [sys.executable, "-m", "tests.benchmarks.memory", str(count), str(folder)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the run ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def _run(count: int, folder: Path) -> dict[str, float]:
    project, bundle = make_functions(folder / "project", count, 20), make_docs_bundle(folder / "docs")
    backend: Any = InstantBackend()
    request = RunRequest([bundle], [project / "src"], cache=False, concurrency=16)
    async with App(project, EngineConfig()).session(request, backend=backend) as session:
        planned, started = _peak(), time.monotonic()
        result = await session.run()
    if result.count("finished") != count:
        raise RuntimeError(f"{result.count('finished')} of {count} tasks finished: {result.tasks[0].error}")
    return {"planned": planned, "peak": _peak(), "seconds": time.monotonic() - started}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(int(sys.argv[1]), Path(sys.argv[2])))))

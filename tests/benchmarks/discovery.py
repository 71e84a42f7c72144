"""Discovery of the standard library, beside bare tree-sitter with the same query over the same files."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import sysconfig
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Self

from tests.benchmarks import bare_treesitter
from tests.benchmarks.harness import Aim, Row, Sample, Scale, in_turns, middle
from tests.benchmarks.worker import worker

_AIM = Aim("ratio", ">=", 0.8)
_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}


def run(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        _copy_library(Path(folder), scale.pick(100_000, 60))
        with worker("discovery:Ours", folder=folder) as ours, worker("discovery:Bare", folder=folder) as bare:
            candidates = {
                "ours": ours.measure,
                "one": lambda: bare.measure(processes=0),
                "all": lambda: bare.measure(processes=_cores()),
            }
            samples = in_turns(candidates, scale.pick(7, 1))
    return _rows(samples)


def _rows(samples: dict[str, list[Sample]]) -> list[Row]:
    ours, one, many = samples["ours"], samples["one"], samples["all"]
    peers = {"one process": one, f"{_cores()} processes": many}
    rows = [
        Row(
            "Discovery", f"MB per {clock} second, beside {name}", "MB/s", f"bare tree-sitter, {name}",
            middle(ours, rate), middle(other, rate), _AIM,
        )
        for name, other in peers.items()
        for clock, rate in {"CPU": _per_cpu, "wall": _per_wall}.items()
    ]  # fmt: skip
    found = ours[0]
    rows[0] = replace(
        rows[0], note=f"{found.extra['files']:.0f} files, {found.amount:.1f} MB, {found.extra['nodes']:.0f} nodes"
    )
    stall = Row(
        "Discovery", "longest stall of the event loop", "ms", f"a loop that waits for {_cores()} bare processes",
        middle(ours, _stall), middle(many, _stall), Aim("ours", "<=", 50),
        "A coroutine that wakes every 2 ms; both share the cores with their workers.",
    )  # fmt: skip
    return [*rows, stall]


def _per_cpu(sample: Sample) -> float:
    return sample.amount / sample.cpu


def _per_wall(sample: Sample) -> float:
    return sample.amount / sample.wall


def _stall(sample: Sample) -> float:
    return sample.extra["stall"] * 1000


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _copy_library(folder: Path, most: int) -> None:
    """Copy the running interpreter's library, without its tests: a tree with nothing else in it."""
    library = Path(sysconfig.get_paths()["stdlib"])
    sources = sorted(path for path in library.rglob("*.py") if _LEFT_OUT.isdisjoint(path.relative_to(library).parts))
    for source in sources[:most]:
        target = folder / source.relative_to(library)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


class Ours:
    """`discover_async` on the tree."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    async def open(self) -> None:
        """Import what the first call would."""
        import engine.discovery.pool  # noqa: F401 - for its side effect

    async def work(self) -> tuple[float, dict[str, float]]:
        from engine.discovery import discover_async

        async with Ticker() as ticker:
            found = await discover_async([self._folder], root=Path(self._folder))
        megabytes = sum(len(node.text.encode()) for node in found.nodes if node.type == "file") / 1e6
        return megabytes, {"files": found.files, "nodes": len(found.nodes), "stall": ticker.stall}

    async def close(self) -> None:
        """Nothing is left open."""


class Bare:
    """tree-sitter alone: in this process, or in as many as there are cores."""

    def __init__(self, folder: str) -> None:
        self._paths = sorted(str(path) for path in Path(folder).rglob("*.py"))

    async def open(self) -> None:
        """Compile the query."""
        bare_treesitter.tools()

    async def work(self, processes: int) -> tuple[float, dict[str, float]]:
        if not processes:
            return bare_treesitter.scan(self._paths), {}
        async with Ticker() as ticker:
            done = await asyncio.gather(*(self._part(number, processes) for number in range(processes)))
        return sum(done), {"stall": ticker.stall}

    async def _part(self, number: int, processes: int) -> float:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.bare_treesitter",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, _ = await process.communicate("\n".join(self._paths[number::processes]).encode())
        return float(output)

    async def close(self) -> None:
        """Nothing is left open."""


class Ticker:
    """Wakes every 2 ms and keeps the longest delay, in seconds."""

    stall = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.002)
            self.stall = max(self.stall, time.perf_counter() - began - 0.002)

"""A process of its own for one candidate, so that nobody else's memory and CPU time are in its figures.

`python -m tests.benchmarks.worker module:Class JSON-ARGUMENTS` answers each line of orders with a line of figures.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol

from tests.benchmarks.harness import ROOT, Sample, stopwatch


class Candidate(Protocol):
    """What a worker runs."""

    async def open(self) -> None:
        """Get ready; not measured."""

    async def work(self, **order: Any) -> float | tuple[float, dict[str, float]]:
        """Do the work and return its amount, and further figures."""

    async def close(self) -> None:
        """Release everything."""


class Worker:
    """The parent's side."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def measure(self, **order: Any) -> Sample:
        """Let the candidate work once."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Sample(**self._hear())

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a candidate ended early: {self._process.args!r}")
        return json.loads(line)


@contextlib.contextmanager
def worker(candidate: str, **arguments: Any) -> Iterator[Worker]:
    """Start a worker for `module:Class` (below tests.benchmarks) and end it."""
    argv = [sys.executable, "-m", "tests.benchmarks.worker", candidate, json.dumps(arguments)]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        started = Worker(process)
        started._hear()
        yield started
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def _serve(candidate: Candidate) -> None:
    await candidate.open()
    try:
        print("{}", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            with stopwatch() as figures:
                done = await candidate.work(**json.loads(line))
            amount, extra = done if isinstance(done, tuple) else (done, {})
            print(json.dumps({**figures, "amount": amount, "extra": extra}), flush=True)
    finally:
        await candidate.close()


def main() -> None:
    """Run the candidate that the command line names."""
    module, name = sys.argv[1].split(":")
    candidate = getattr(import_module(f"tests.benchmarks.{module}"), name)
    asyncio.run(_serve(candidate(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()

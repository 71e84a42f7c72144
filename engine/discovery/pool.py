"""Worker processes that read and parse files, fed over pipes.

A worker ends when its standard input does, so none outlives this process however it dies; a file on which a worker dies
or hangs is noted, and the rest goes on in a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import marshal
import os
import sys
from collections import deque
from typing import Any

from engine.discovery.model import CodeNode
from engine.discovery.scan import FileResult
from engine.discovery.source import Job
from engine.discovery.targets import Filter, Plan

_BATCH_FILES = 16
_BATCH_BYTES = 256 * 1024
_PIPE_BYTES = 1 << 20

_Batch = list[int]


async def scan_in_workers(plan: Plan, wanted: Filter) -> list[FileResult]:
    """Read all files of a plan on all cores; the results are in the order of the plan.

    Cancelling it stops the workers.
    """
    batches = _batches(plan.jobs)
    results: list[FileResult] = [([], None, False)] * len(plan.jobs)
    count = min(len(batches), len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_drain(plan, wanted, batches, results))
    return results


def _batches(jobs: tuple[Job, ...]) -> deque[_Batch]:
    """Group neighbours, large enough to spare round trips and small enough to share evenly."""
    batches: deque[_Batch] = deque()
    size = _BATCH_BYTES
    for index, job in enumerate(jobs):
        if size + job.size > _BATCH_BYTES or len(batches[-1]) == _BATCH_FILES:
            batches.append([])
            size = 0
        batches[-1].append(index)
        size += job.size
    return batches


async def _drain(plan: Plan, wanted: Filter, batches: deque[_Batch], results: list[FileResult]) -> None:
    """Work off batches with one worker, replacing it when it dies."""
    worker = await _start(plan, wanted)
    try:
        while batches:
            batch = batches.popleft()
            done = await _run_batch(worker, plan, batch, results)
            if done < len(batch):
                results[batch[done]] = ([], "the parser crashed on it or took too long", False)
                batches.appendleft(batch[done + 1 :])
                await _stop(worker)
                worker = await _start(plan, wanted)
    finally:
        await asyncio.shield(_stop(worker))


async def _run_batch(worker: asyncio.subprocess.Process, plan: Plan, batch: _Batch, results: list[FileResult]) -> int:
    """Send a batch and collect its results; returns how many files were answered."""
    assert worker.stdin is not None  # noqa: S101 - both are pipes, see _start
    assert worker.stdout is not None  # noqa: S101
    jobs = [plan.jobs[index] for index in batch]
    with contextlib.suppress(ConnectionError):
        _send(worker.stdin, [(job.path, job.language, job.named, job.size) for job in jobs])
        await worker.stdin.drain()
    for done, index in enumerate(batch):
        try:
            length = int.from_bytes(await worker.stdout.readexactly(8))
            nodes, note, read = marshal.loads(await worker.stdout.readexactly(length))  # noqa: S302 - our own child
        except (asyncio.IncompleteReadError, ConnectionError):
            return done
        results[index] = ([CodeNode(*fields) for fields in nodes], note, read)
    return len(batch)


def _send(stdin: asyncio.StreamWriter, message: Any) -> None:
    data = marshal.dumps(message)
    stdin.write(len(data).to_bytes(8) + data)


async def _start(plan: Plan, wanted: Filter) -> asyncio.subprocess.Process:
    paths = os.pathsep.join(path for path in sys.path if path)
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "engine.discovery.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_PIPE_BYTES,
        env={**os.environ, "PYTHONPATH": paths},
        start_new_session=True,  # Ctrl-C is for this process, which then stops its workers
    )
    assert worker.stdin is not None  # noqa: S101 - it is a pipe
    _send(worker.stdin, (str(plan.root), wanted.types, wanted.query))
    return worker


async def _stop(worker: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        worker.kill()
    await worker.wait()
    if worker.stdin is not None:
        worker.stdin.close()
        with contextlib.suppress(ConnectionError):
            await worker.stdin.wait_closed()

"""Worker processes that read and parse files, fed over pipes, each by a thread of its own.

A worker ends when its standard input does, so none outlives this process however it dies; a file on which a worker dies
or hangs is noted, and the rest goes on in a new one.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from engine.discovery.nodes import make_nodes
from engine.discovery.scan import FileResult
from engine.discovery.source import SourceFile
from engine.discovery.targets import Filter, Plan

_BATCH_FILES = 12  # with the longest paths that there are, a batch still fits into a pipe
_BATCH_BYTES = 128 * 1024
_AHEAD = 2  # batches that a worker has: one that it reads and one that it finds when it is done

_Batch = deque[int]
_PROGRAM = "from engine.discovery.worker import main; main()"


class Pool:
    """The workers of one discovery."""

    def __init__(self, plan: Plan, wanted: Filter) -> None:
        self._plan = plan
        self._wanted = wanted
        self._batches = _batches(plan.sources)
        self._results: list[FileResult] = [([], None, False)] * len(plan.sources)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self) -> list[FileResult]:
        """Read all files of the plan on all cores and return the results in its order; blocks.

        After `stop` what is returned is not whole.
        """
        count = min(len(self._batches), _cores())
        with ThreadPoolExecutor(max(count, 1)) as threads:
            try:
                for thread in [threads.submit(self._drain) for _ in range(count)]:
                    thread.result()
            except BaseException:
                self.stop()
                raise
        return self._results

    def stop(self) -> None:
        """Make `run` end soon; may be called from another thread."""
        with self._lock:
            self._stopped = True
            for worker in self._running:
                worker.kill()

    def _drain(self) -> None:
        """Work off batches, with a new worker whenever one dies."""
        while self._batches and not self._stopped:
            sent: deque[_Batch] = deque()
            with self._worker() as worker:
                try:
                    self._feed(worker, sent)
                except (EOFError, OSError):
                    self._blame(sent)

    def _feed(self, worker: subprocess.Popen[bytes], sent: deque[_Batch]) -> None:
        """Work off batches with one worker; `sent` is what it has and did not answer yet."""
        with contextlib.suppress(BrokenPipeError):  # a worker that does not even start fails on its first batch
            _send(worker.stdin, (str(self._plan.root), self._wanted.types, self._wanted.query))
        while True:
            while len(sent) < _AHEAD and (batch := self._next()):
                sent.append(batch)
                sources = [self._plan.sources[index] for index in batch]
                _send(worker.stdin, [tuple(file) for file in sources])
            if not sent:
                return
            while sent[0]:
                index = sent[0][0]
                self._results[index] = _receive(worker.stdout, self._plan.sources[index])
                sent[0].popleft()
            sent.popleft()

    def _next(self) -> _Batch | None:
        with contextlib.suppress(IndexError):
            return self._batches.popleft()
        return None

    def _blame(self, unanswered: deque[_Batch]) -> None:
        """Note the file that a worker was at when it died, and give the others back."""
        if unanswered and not self._stopped:
            self._results[unanswered[0].popleft()] = ([], "the parser crashed on it or took too long", False)
            self._batches.extendleft(batch for batch in reversed(unanswered) if batch)

    @contextlib.contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[bytes]]:
        worker = _start()
        with self._lock:
            self._running.add(worker)
            if self._stopped:
                worker.kill()
        try:
            yield worker
        finally:
            with self._lock:
                self._running.remove(worker)
            worker.kill()
            with contextlib.suppress(OSError), worker:
                pass


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(sources: tuple[SourceFile, ...]) -> deque[_Batch]:
    """Group neighbours, large enough to spare round trips and small enough to share evenly."""
    batches: deque[_Batch] = deque()
    size = _BATCH_BYTES
    for index, file in enumerate(sources):
        if size + file.size > _BATCH_BYTES or len(batches[-1]) == _BATCH_FILES:
            batches.append(deque())
            size = 0
        batches[-1].append(index)
        size += file.size
    return batches


def _send(stdin: IO[bytes] | None, message: Any) -> None:
    assert stdin is not None  # noqa: S101 - it is a pipe, see _start
    data = marshal.dumps(message)
    stdin.write(len(data).to_bytes(8) + data)
    stdin.flush()


def _receive(stdout: IO[bytes] | None, file: SourceFile) -> FileResult:
    """Return a worker's next answer.

    Raises:
        EOFError: It died.
    """
    assert stdout is not None  # noqa: S101 - it is a pipe, see _start
    length = int.from_bytes(stdout.read(8))
    data = stdout.read(length)
    if not length or len(data) < length:
        raise EOFError
    source, rows, note, read = marshal.loads(data)  # noqa: S302 - our own child
    return make_nodes(source, file.path, file.language, rows), note, read


def _start() -> subprocess.Popen[bytes]:
    """Start a worker without `site`: it costs time, and the search path is known."""
    here = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-P", "-S", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in (here, *sys.path) if path)},
        start_new_session=True,  # Ctrl-C is for this process, which then stops its workers
    )

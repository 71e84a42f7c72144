"""From a save to the new generation, with 200 bundles, beside a bare inotify loop that sees the same saves.

The watcher is in a process of its own, the bare loop in a thread of this one, which otherwise only saves and waits.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import queue
import select
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Self

from engine.reload.feed import QUIET
from tests.benchmarks.harness import Aim, Row, Sample, Scale
from tests.benchmarks.samples import write_bundles
from tests.benchmarks.worker import Worker, worker

_SAVES, _BUNDLES = 200, 200
_FILES = {"prompt": "prompts/user.md.j2", "manifest": "bundle.yaml", "script": "tools/rename.pym"}
_TEXT = (Aim("ours", "<=", 25), Aim("ours", "<=", 40))
_AIMS = {"prompt": _TEXT, "manifest": _TEXT, "script": (None, Aim("ours", "<=", 70))}
# Seconds between two saves: both have come to rest.
_PAUSE = 0.05
# No script was ever checked before.
_NUMBERS = itertools.count(time.time_ns())


def run(scale: Scale) -> list[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        write_bundles(folder, scale.pick(_BUNDLES, 3))
        with worker("reload:Ours", folder=str(folder)) as ours, BareLoop(folder) as bare:
            return [
                row
                for kind in _FILES
                for way, save in {"in place": Path.write_text, "atomic": _replace}.items()
                for row in _rows(kind, way, _measure(ours, bare, folder, kind, save, scale.pick(_SAVES, 2)))
            ]


def _rows(kind: str, way: str, pairs: Sequence[tuple[Sample, float]]) -> Iterator[Row]:
    ours, bare = [sample.wall for sample, _ in pairs], [seconds for _, seconds in pairs]
    cpu = sum(sample.cpu for sample, _ in pairs) / len(pairs) * 1000
    note = f"{cpu:.1f} ms CPU a save; of {len(pairs)} saves the slowest took {max(ours) * 1000:.0f} ms"
    for part, percent, aim in zip(("p50", "p99"), (50, 99), _AIMS[kind], strict=True):
        yield Row(
            "Hot reload", f"{kind}, {way}: {part}", "ms", "bare inotify",
            _percentile(ours, percent), _percentile(bare, percent), aim, note if part == "p99" else "",
        )  # fmt: skip


def _percentile(seconds: Sequence[float], percent: int) -> float:
    return quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1000


def _measure(
    ours: Worker, bare: BareLoop, folder: Path, kind: str, save: Callable[[Path, str], object], count: int
) -> list[tuple[Sample, float]]:
    """Save again and again; return for each save what it took the watcher, and the bare loop."""
    bundles = sorted(path.parent for path in folder.glob("*/bundle.yaml"))
    pairs = []
    for number in range(count):
        path = bundles[number % len(bundles)] / _FILES[kind]
        text = f"{path.read_text('utf-8')}\n# {next(_NUMBERS)}\n"
        heard: queue.Queue[Sample] = queue.Queue()
        waiting = threading.Thread(target=lambda heard=heard: heard.put(ours.measure()))
        waiting.start()
        time.sleep(_PAUSE)
        began = time.monotonic()
        save(path, text)
        sample = heard.get()
        waiting.join()
        pairs.append((Sample(sample.extra["arrived"] - began, sample.cpu), bare.next(began) - began))
    return pairs


def _replace(path: Path, text: str) -> None:
    other = path.with_name(f"{path.name}.new")
    other.write_text(text, "utf-8")
    other.replace(path)


class Ours:
    """The watcher, and the moments at which its reloads arrive."""

    def __init__(self, folder: str) -> None:
        from engine.reload import Watcher

        self._watcher = Watcher([folder])

    async def open(self) -> None:
        """Watch."""
        await self._watcher.__aenter__()

    async def work(self) -> tuple[float, dict[str, float]]:
        """Wait for one new generation."""
        reload = await anext(self._watcher)
        arrived = time.monotonic()
        if not reload.accepted or len(reload.changed) != 1:
            raise RuntimeError(f"not one new bundle: {reload.changed}, {reload.diagnostics[:3]}")
        return 1, {"arrived": arrived}

    async def close(self) -> None:
        """Stop."""
        await self._watcher.__aexit__(None, None, None)


class BareLoop:
    """inotify by its system calls: waits for an event, then for as long a quiet time as the watcher."""

    _EVENTS = 0x2 | 0x4 | 0x40 | 0x80 | 0x100 | 0x200  # modify, attributes, moved from and to, create, delete

    def __init__(self, folder: Path) -> None:
        if sys.platform != "linux":
            raise SystemExit("the benchmark 'reload' needs Linux' inotify")
        system = ctypes.CDLL(None, use_errno=True)
        self._events = system.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for below, _, _ in os.walk(folder):
            if system.inotify_add_watch(self._events, os.fsencode(below), self._EVENTS) < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", below)
        self._arrived: queue.Queue[float] = queue.Queue()
        self._end, self._ending = os.pipe()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ending)
        self._thread.join()
        os.close(self._end)
        os.close(self._events)

    def next(self, began: float) -> float:
        """Return when the first batch of events after a moment was complete."""
        while (arrived := self._arrived.get(timeout=30)) < began:
            pass  # the rest of an earlier save
        return arrived

    def _run(self) -> None:
        while True:
            ready, _, _ = select.select([self._events, self._end], [], [])
            if self._end in ready:
                return
            while ready:
                os.read(self._events, 65536)
                ready, _, _ = select.select([self._events], [], [], QUIET / 1000)
            self._arrived.put(time.monotonic())

"""The worker process: one frame in per batch, one frame out per file.

A frame is its length in 8 bytes (big-endian) and that many bytes of `marshal` data. The first frame in is
`(root, types, query)`, each later one a list of `(path, language, named, size)`. A frame out is
`(source, rows, note, read)`.

Its start is a good part of a discovery's time, so whatever it imports is kept small.
"""

from __future__ import annotations

import gc
import marshal
import signal
import sys
from typing import Any, BinaryIO

from engine.discovery.source import SourceFile, scan_file

SECONDS_PER_FILE = 20.0
"""A parse that takes longer ends the worker: the default action of SIGALRM needs no interpreter lock."""


def main() -> None:
    """Answer batches until standard input ends."""
    gc.disable()  # nothing here refers to itself, and the nodes of a file are many
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    first = _receive(source)
    if first is None:
        return
    root, types, query = first
    while (batch := _receive(source)) is not None:
        for file in batch:
            signal.setitimer(signal.ITIMER_REAL, SECONDS_PER_FILE)
            scanned = scan_file(root, SourceFile(*file), types, query)
            signal.setitimer(signal.ITIMER_REAL, 0)
            data = marshal.dumps(tuple(scanned))
            sink.write(len(data).to_bytes(8) + data)
            sink.flush()


def _receive(source: BinaryIO) -> Any:
    """Return the next message, or None at the end of the input."""
    head = source.read(8)
    if len(head) < 8:
        return None
    data = source.read(int.from_bytes(head))
    return marshal.loads(data)  # noqa: S302 - from the process that started this one

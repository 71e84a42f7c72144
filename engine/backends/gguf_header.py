"""Reads the header of a GGUF file: metadata, tensor names and shapes; never the tensors themselves.

Source of the format: ggml's `docs/gguf.md`, versions 2 and 3, little-endian. The file is untrusted: every length is
checked against the file's size.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAGIC = b"GGUF"
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_DIMENSIONS = 8
# ggml type → (elements per block, bytes per block), for the types that llama.cpp writes today.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 30: (1, 2),
}  # fmt: skip


class GgufError(Exception):
    """The file is not a usable GGUF file; the message says why, without the path."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What a GGUF file says about itself.

    Attributes:
        metadata: Key → scalar or text; arrays are left out.
        shapes: Tensor → dimensions, the fastest-changing first (as ggml stores them).
        size: Bytes that the tensors need up to the end of the last one whose type is known.
    """

    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    size: int

    @property
    def architecture(self) -> str:
        """The model's architecture, such as `llama`; empty when the file does not say."""
        return str(self.metadata.get("general.architecture", ""))

    def number(self, key: str) -> int | None:
        """Return an integer of the architecture's own keys, such as `attention.head_count`."""
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else None


def read_header(path: Path) -> GgufHeader:
    """Read the header of a file.

    Raises:
        GgufError: It is no GGUF file, or it is cut off or damaged.
        OSError: It cannot be read.
    """
    actual = path.stat().st_size
    with path.open("rb") as stream:
        if stream.read(4) != MAGIC:
            raise GgufError("is not a GGUF file (it does not begin with 'GGUF')")
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            header = _parse(_Cursor(data))
    if header.size > actual:
        raise GgufError(f"is cut off: its tensors need {header.size:,} bytes and it has {actual:,}")
    return header


class _Cursor:
    """A position in the file; every step is checked."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 4

    def skip(self, count: int) -> int:
        start, end = self.at, self.at + count
        if end > len(self.data):
            raise GgufError("is cut off in its header")
        self.at = end
        return start

    def scalar(self, kind: str) -> Any:
        start = self.skip(struct.calcsize("<" + kind))
        return struct.unpack_from("<" + kind, self.data, start)[0]

    def text(self) -> str:
        length = self.scalar("Q")
        start = self.skip(length)
        return self.data[start : start + length].decode("utf-8", "replace")

    def skip_array(self) -> None:
        kind, count = self.scalar("I"), self.scalar("Q")
        if kind in _SCALARS:
            self.skip(count * struct.calcsize("<" + _SCALARS[kind]))
        elif kind == _STRING:
            for _ in range(count):
                self.skip(self.scalar("Q"))
        else:
            raise GgufError("has metadata of an unknown kind")


def _parse(cursor: _Cursor) -> GgufHeader:
    version, tensors, pairs = cursor.scalar("I"), cursor.scalar("Q"), cursor.scalar("Q")
    if version not in (2, 3):
        raise GgufError(f"has the unknown GGUF version {version}")
    metadata: dict[str, Any] = {}
    for _ in range(pairs):
        _read_pair(cursor, metadata)
    shapes: dict[str, tuple[int, ...]] = {}
    end = 0
    for _ in range(tensors):
        end = max(end, _read_tensor(cursor, shapes))
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment <= 0:
        raise GgufError("has an impossible alignment")
    start = -(-cursor.at // alignment) * alignment
    return GgufHeader(metadata, shapes, start + end if end else cursor.at)


def _read_pair(cursor: _Cursor, metadata: dict[str, Any]) -> None:
    key, kind = cursor.text(), cursor.scalar("I")
    if kind == _ARRAY:
        cursor.skip_array()
    elif kind == _STRING:
        metadata[key] = cursor.text()
    elif kind in _SCALARS:
        metadata[key] = cursor.scalar(_SCALARS[kind])
    else:
        raise GgufError("has metadata of an unknown kind")


def _read_tensor(cursor: _Cursor, shapes: dict[str, tuple[int, ...]]) -> int:
    """Read one tensor's row and return where its data ends, counted from the start of all data."""
    name, count = cursor.text(), cursor.scalar("I")
    if count > _MOST_DIMENSIONS:
        raise GgufError("has a tensor of too many dimensions")
    shape = tuple(cursor.scalar("Q") for _ in range(count))
    kind, offset = cursor.scalar("I"), cursor.scalar("Q")
    shapes[name] = shape
    elements = 1
    for size in shape:
        elements *= size
    per_block, block = _BLOCKS.get(kind, (1, 0))
    return int(offset + elements // per_block * block)

"""A stored result, and its form in the tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from engine.messages import Usage
from engine.run.cache.hit import Hit
from engine.run.cache.record import Read, Write, content_digest

ROW = "id, key, scene, bundle, task_id, node_id, place, node, note, reads, source, result, checksum"
FIGURES = "prompt_tokens, completion_tokens, cached_tokens, seconds, size, stored, used, hits"


@dataclass(frozen=True, slots=True)
class NewEntry:
    """A result to be stored.

    Attributes:
        key: What it is stored under.
        scene: The digest of all but the node.
        parts: What the scene consists of, as JSON.
        bundle: The bundle's name.
        task_id: The task.
        node_id: The node.
        place: `file::name` of the node.
        node: What the bundle can see of the node, as JSON.
        note: What a reviewer said.
        reads: What the task read.
        source: Digest of the node's source as its tools saw it first.
        result: What it came to, as JSON values.
        usage: Its tokens.
        seconds: Its time.
        writes: What it left in files.
    """

    key: str
    scene: str
    parts: str
    bundle: str
    task_id: str
    node_id: str
    place: str
    node: str
    note: str
    reads: Sequence[Read]
    source: str | None
    result: Mapping[str, Any]
    usage: Usage
    seconds: float
    writes: Sequence[Write]

    @property
    def contents(self) -> list[bytes]:
        """What has to be stored beside the row."""
        return [write.after for write in self.writes if write.after is not None]

    @property
    def size(self) -> int:
        """Bytes, without what SQLite needs around them."""
        texts = (self.node, self.note, *map(str, self.reads), json.dumps(self.result))
        return sum(map(len, texts)) + sum(map(len, self.contents)) + 200


class Entry(NamedTuple):
    """A row of the table `entries`, in the order of `ROW` and `FIGURES`."""

    id: int
    key: str
    scene: str
    bundle: str
    task_id: str
    node_id: str
    place: str
    node: str
    note: str
    reads: str
    source: str | None
    result: str
    checksum: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    seconds: float
    size: int
    stored: float
    used: float
    hits: int

    @property
    def usage(self) -> Usage:
        """Tokens of the first time."""
        return Usage(self.prompt_tokens, self.completion_tokens, self.cached_tokens)

    @property
    def questions(self) -> list[Read]:
        """What the task read.

        Raises:
            ValueError: The row is damaged.
        """
        return [Read(*map(str, row)) for row in json.loads(self.reads)]

    def as_hit(self) -> Hit:
        """Return what a plan is told."""
        return Hit(self.key, self.id, self.usage, self.seconds, self.stored)


def reads_text(reads: Sequence[Read]) -> str:
    """Return what a task read as the tables have it."""
    return json.dumps(reads, ensure_ascii=True)


def checksum_of(key: str, reads: str, source: str | None, result: str, writes: Sequence[Write]) -> str:
    """Return the digest by which a row that was damaged is known."""
    rows = [(write.path, content_digest(write.after), *write[2:]) for write in writes]
    return sha256(json.dumps([key, reads, source, result, rows], ensure_ascii=True).encode()).hexdigest()

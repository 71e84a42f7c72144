"""What a task read and wrote, as far as its result depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Read(NamedTuple):
    """A question about the project and the digest of its answer; the same question may be asked again later.

    Attributes:
        kind: `file`, `exists`, `folder`, `search`, `tree`, `place`, `link` or `program`.
        subject: What it was about, such as a path.
        answer: The answer itself where it is short, else its digest.
    """

    kind: str
    subject: str
    answer: str


class Write(NamedTuple):
    """What the task left in one file.

    Attributes:
        path: The file.
        after: Its content; None when the task deleted it.
        mode: Permission bits of a new file.
        before: SHA-256 of what was there, hex; None when nothing was.
        added: New lines of the change.
        removed: Lines that go.
    """

    path: str
    after: bytes | None
    mode: int | None
    before: str | None
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Record:
    """What one task read and wrote.

    Attributes:
        reads: What it asked about the project, beside its own node.
        source: Digest of the node's source as its tools saw it first; None when none looked.
        node: What the task made of the node; None when it left it or wrote the whole file.
        writes: What it left in files; not the node's own file where `node` says it.
        untracked: Why nobody can tell what it read; None where that is known.
    """

    reads: tuple[Read, ...] = ()
    source: str | None = None
    node: str | None = None
    writes: tuple[Write, ...] = ()
    untracked: str | None = None

"""What a task read and wrote, as far as its result depends on it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from engine.run.editor import NodeEditor
from engine.workspace import Change, Workspace

_ALONE = frozenset({"file", "link", "program"})
"""Kinds whose answers say by themselves what came from tasks before; the others are about the project below."""


class Read(NamedTuple):
    """A question about the project and its answer; the same question may be asked again later.

    Attributes:
        kind: `file`, `exists`, `folder`, `search`, `tree`, `place`, `link` or `program`; or `base`: all that the tasks
            before it offered.
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
        after: What it holds now; None when the task deleted it. Where `node` is set, what the node became.
        mode: Permission bits of a new file.
        before: SHA-256 of what was there, hex; None when nothing was.
        added: New lines of the change.
        removed: Lines that go.
        node: The task changed nothing of the file but its node.
    """

    path: str
    after: bytes | None
    mode: int | None
    before: str | None
    added: int
    removed: int
    node: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """What one task read and wrote.

    Attributes:
        reads: What it asked about the project, beside its own node.
        source: Digest of the node's source as its tools saw it first; None when none looked.
        writes: What it left in files.
        untracked: Why nobody can tell what it read; None where that is known.
    """

    reads: tuple[Read, ...] = ()
    source: str | None = None
    writes: tuple[Write, ...] = ()
    untracked: str | None = None


def make_record(
    workspace: Workspace, editor: NodeEditor, changes: Iterable[Change], base: Sequence[Change] = ()
) -> Record:
    """Return what a task read and wrote.

    Args:
        workspace: Its workspace.
        editor: The editor of its node.
        changes: What it offers.
        base: What tasks before it offered, which it saw as if it were in the project.
    """
    reads = [Read(*row) for row in workspace.reads.answers()]
    if base and not stands_alone(reads):
        reads.append(Read("base", "", base_digest(base)))
    became = editor.result()
    writes = [_write(change, became if change.path == editor.node.file_path else None) for change in changes]
    return Record(
        tuple(reads),
        None if editor.first is None else text_digest(editor.first),
        tuple(writes),
        workspace.reads.untracked,
    )


def stands_alone(reads: Iterable[Read]) -> bool:
    """Tell whether the answers say by themselves all that came from tasks before."""
    return all(read.kind in _ALONE for read in reads)


def base_digest(base: Iterable[Change]) -> str:
    """Return the digest of what tasks that come before another offered."""
    rows = sorted((change.path, content_digest(change.after) or "") for change in base)
    return text_digest(json.dumps(rows, ensure_ascii=True))


def text_digest(text: str) -> str:
    """Return the SHA-256 of a text, hex; half a surrogate pair counts, too."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def content_digest(content: bytes | None) -> str | None:
    """Return the SHA-256 of a content, hex; None for a file that is not there."""
    return None if content is None else sha256(content).hexdigest()


def _write(change: Change, became: str | None) -> Write:
    after = change.after if became is None else became.encode("utf-8", "surrogatepass")
    before = content_digest(change.before)
    return Write(change.path, after, change.mode, before, change.added, change.removed, became is not None)

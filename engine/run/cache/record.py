"""What a task read and wrote, as far as its result depends on it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from engine.run.editor import NodeEditor
from engine.workspace import Change, Workspace


class Read(NamedTuple):
    """A question about the project and its answer; the same question may be asked again later.

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


def make_record(workspace: Workspace, editor: NodeEditor, changes: Iterable[Change]) -> Record:
    """Return what a task read and wrote.

    Args:
        workspace: Its workspace.
        editor: The editor of its node.
        changes: What it offers.
    """
    became = editor.result()
    writes = [_write(change, became if change.path == editor.node.file_path else None) for change in changes]
    return Record(
        tuple(Read(*row) for row in workspace.reads.answers()),
        None if editor.first is None else text_digest(editor.first),
        tuple(writes),
        workspace.reads.untracked,
    )


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

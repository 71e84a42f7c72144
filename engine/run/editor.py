"""The node a task works on: found again in the workspace's own text, whatever was written there meanwhile."""

from __future__ import annotations

from engine.discovery import CodeNode, parse_file
from engine.errors import WorkspaceError
from engine.workspace import Workspace


class NodeEditor:
    """Reads and replaces one CodeNode in a Workspace.

    Text is what `Workspace.read_text` gives, with plain newlines; offsets are in characters of it. After an edit of
    this editor the span is known; after any other edit of the file the node is looked up again by its stable id.

    What it reads does not count as a read of the file: `first` and `result` say all that its callers can tell of it.
    """

    def __init__(self, workspace: Workspace, node: CodeNode) -> None:
        self._workspace = workspace
        self.node = node
        self._content: str | None = None
        self._span = (0, 0)
        self._first: str | None = None
        self._edited = self._foreign = False

    @property
    def first(self) -> str | None:
        """The node's source when it was looked at first; None when nobody did."""
        return self._first

    def result(self) -> str | None:
        """Return what the node became, if this editor's edits are all that was done to its file; else None."""
        if not self._edited or self._foreign:
            return None
        try:
            content = self._workspace.read_text(self.node.file_path, tracked=False)
        except WorkspaceError:
            return None
        return content[slice(*self._span)] if content == self._content else None

    def source(self) -> str:
        """Return the node's present source; its first line has no indentation.

        Raises:
            WorkspaceError: When the node is gone.
        """
        content = self._sync()
        return content[slice(*self._span)]

    def replace(self, text: str) -> bool:
        """Replace the node's source; return whether anything changed.

        Raises:
            WorkspaceError: When the node is gone.
        """
        content = self._sync()
        start, end = self._span
        if content[start:end] == text:
            return False
        content = content[:start] + text + content[end:]
        self._workspace.write_text(self.node.file_path, content, tracked=False)
        self._content, self._span, self._edited = content, (start, start + len(text)), True
        return True

    def _sync(self) -> str:
        try:
            content = self._workspace.read_text(self.node.file_path, tracked=False)
            if content != self._content:
                others = self._content is not None or self._workspace.touched(self.node.file_path)
                self._foreign = self._foreign or others
                self._span = self._locate(content)
                self._content = content
        except WorkspaceError:
            self._workspace.reads.lose("the node could not be read")
            raise
        if self._first is None:
            self._first = content[slice(*self._span)]
        return content

    def _locate(self, content: str) -> tuple[int, int]:
        data = content.encode()
        node = self.node
        start, end = node.start_byte, node.end_byte
        if data[start:end] != node.text.encode():
            found = [n for n in parse_file(data, node.file_path, node.language) if n.node_id == node.node_id]
            if not found:
                raise WorkspaceError(f"{node.type} '{node.qualified_name}' is no longer in {node.file_path}")
            start, end = found[0].start_byte, found[0].end_byte
        return len(data[:start].decode()), len(data[:end].decode())

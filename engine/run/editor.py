"""The node a task works on: found again in the workspace's own text, whatever was written there meanwhile."""

from __future__ import annotations

from engine.discovery import CodeNode, parse_file
from engine.errors import WorkspaceError
from engine.workspace import Workspace


class NodeEditor:
    """Reads and replaces one CodeNode in a Workspace.

    Text is what `Workspace.read_text` gives, with plain newlines; offsets are in characters of it. After an edit of
    this editor the span is known; after any other edit of the file the node is looked up again by its stable id.
    """

    def __init__(self, workspace: Workspace, node: CodeNode) -> None:
        self._workspace = workspace
        self._node = node
        self._content: str | None = None
        self._span = (0, 0)

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
        self._workspace.write_text(self._node.file_path, content)
        self._content, self._span = content, (start, start + len(text))
        return True

    def _sync(self) -> str:
        content = self._workspace.read_text(self._node.file_path)
        if content != self._content:
            self._span = self._locate(content)
            self._content = content
        return content

    def _locate(self, content: str) -> tuple[int, int]:
        data = content.encode()
        node = self._node
        start, end = node.start_byte, node.end_byte
        if data[start:end] != node.text.encode():
            found = [n for n in parse_file(data, node.file_path, node.language) if n.node_id == node.node_id]
            if not found:
                raise WorkspaceError(f"{node.type} '{node.qualified_name}' is no longer in {node.file_path}")
            start, end = found[0].start_byte, found[0].end_byte
        return len(data[:start].decode()), len(data[:end].decode())

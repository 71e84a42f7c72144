"""A YAML document as read: its data, where each value stands, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.diagnostics import Diagnostic, Span

JsonPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a value stands, and its key when it is the value of a mapping."""

    key: Span | None
    value: Span


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document.

    Attributes:
        file: The path as the user would type it.
        text: The source.
        data: The top-level mapping; empty when the text could not be read at all.
        positions: Where each path of the data stands.
        diagnostics: Findings of the reading.
        tainted: Paths whose value has a finding already; later passes say nothing more about it.
        odd_keys: Paths whose key has a finding already.
        parts: What a merged document was made of, nearest first; empty for one that was read as it is.
    """

    file: str
    text: str
    data: Mapping[str, Any]
    positions: Positions
    diagnostics: tuple[Diagnostic, ...] = ()
    tainted: frozenset[JsonPath] = field(default_factory=frozenset)
    odd_keys: frozenset[JsonPath] = field(default_factory=frozenset)
    parts: tuple[Document, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether there is a mapping to look at."""
        return self.positions.known

    @property
    def written(self) -> Document:
        """The document as its author wrote it: without what was merged into it."""
        return self.parts[0] if self.parts else self

    def part(self, file: str) -> Document:
        """Return the document, of those that this one was made of, that is in a file."""
        return next((part for part in self.parts if part.file == file), self)


class Positions:
    """Maps a path in the data to spans; resolved on demand from the node tree, for findings are rare."""

    def __init__(self, file: str, root: yaml.Node | None = None) -> None:
        self._file = file
        self._root = root

    @property
    def known(self) -> bool:
        """Whether the document could be read."""
        return self._root is not None

    def __getitem__(self, path: JsonPath) -> Position:
        """Return the position of the path.

        Raises:
            KeyError: The path does not exist in the document.
        """
        key, node, depth = self._walk(path)
        if node is None or depth < len(path):
            raise KeyError(path)
        return Position(self._span(key) if key is not None else None, self._span(node))

    def __contains__(self, path: JsonPath) -> bool:
        _, node, depth = self._walk(path)
        return node is not None and depth == len(path)

    def key(self, path: JsonPath) -> Span:
        """Return the span of the path's key, or of its value where it has no key.

        For a path that does not exist it is that of the nearest parent.
        """
        key, node, _ = self._walk(path)
        chosen = key if key is not None else node
        return self._span(chosen) if chosen is not None and chosen is not self._root else Span(self._file)

    def value(self, path: JsonPath) -> Span:
        """Return the span of the path's value; of the nearest parent for a path that does not exist."""
        key, node, depth = self._walk(path)
        if node is None or node is self._root:
            return Span(self._file)
        return self._span(node if depth == len(path) or key is None else key)

    def written(self, path: JsonPath) -> JsonPath:
        """Return the path as it is in the document that has it: itself, but in a merged document."""
        return path

    def _walk(self, path: JsonPath) -> tuple[yaml.Node | None, yaml.Node | None, int]:
        """Go down the path; return the last key, the last node and how many steps were possible."""
        key: yaml.Node | None = None
        node = self._root
        for depth, step in enumerate(path):
            found = _child(node, step)
            if found is None:
                return key, node, depth
            key, node = found
        return key, node, len(path)

    def _span(self, node: yaml.Node) -> Span:
        start, end = node.start_mark, node.end_mark
        if end.line > start.line:
            # Block collections and block scalars end where the next token starts: point at their beginning.
            return Span(self._file, start.line + 1, start.column + 1)
        return Span(self._file, start.line + 1, start.column + 1, end.line + 1, end.column + 1)


def _child(node: yaml.Node | None, step: str | int) -> tuple[yaml.Node | None, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return None, node.value[step]
    return None

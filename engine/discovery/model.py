"""What discovery returns."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True, slots=True)
class CodeNode:
    """One piece of a source file that a bundle can take.

    Attributes:
        node_id: 16 hexadecimal digits, stable under edits elsewhere in the file.
        type: file, class, function, method, section, code_block, table, table_array, key, or what a query calls it.
        name: The name as written, without its surroundings.
        qualified_name: The name with those of the classes, functions and modules around it; a file's is its path.
        language: A name of the language table.
        file_path: Posix path relative to the project's root.
        text: The node's source, decorators included; exactly the bytes of its span.
        docstring: The documentation that belongs to it, without comment marks.
        start_line: First line, 1-based.
        end_line: Last line, inclusive.
        start_byte: Offset of its first byte in the file.
        end_byte: Offset behind its last byte.
        content_hash: SHA-256 of the text, in hexadecimal.
    """

    node_id: str
    type: str
    name: str
    qualified_name: str
    language: str
    file_path: str
    text: str
    docstring: str | None
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int
    content_hash: str

    @property
    def id(self) -> str:
        """The node's id."""
        return self.node_id

    def to_json(self) -> dict[str, str | int | None]:
        """Return the fields as JSON values."""
        return dict(zip((field.name for field in fields(self)), astuple(self), strict=True))


@dataclass(frozen=True, slots=True)
class Note:
    """A file that was left out or only read in part, and why."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Discovery:
    """The nodes below the targets, sorted by file and position; `files` counts the files that were read."""

    nodes: tuple[CodeNode, ...]
    files: int
    notes: tuple[Note, ...] = ()

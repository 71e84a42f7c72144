"""What discovery returns."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from hashlib import sha256


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
    """

    node_id: str
    type: str
    name: str
    qualified_name: str
    language: str
    file_path: str
    text: str = field(repr=False)
    docstring: str | None
    start_line: int
    end_line: int
    start_byte: int
    end_byte: int

    @property
    def id(self) -> str:
        """The node's id."""
        return self.node_id

    @property
    def content_hash(self) -> str:
        """SHA-256 of the text, in hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    def to_json(self) -> dict[str, str | int | None]:
        """Return the fields and the hash as JSON values."""
        names = (*(item.name for item in fields(self)), "content_hash")
        return {name: getattr(self, name) for name in names}


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

    nodes: tuple[CodeNode, ...] = field(repr=False)
    files: int
    notes: tuple[Note, ...] = ()

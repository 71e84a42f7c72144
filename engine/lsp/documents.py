"""The documents that are open in the editor: their text as it is there, saved or not."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from engine.lsp.positions import Encoding, Lines


@dataclass(frozen=True, slots=True)
class Buffer:
    """One open document.

    Attributes:
        uri: As the client names it.
        path: The file, absolute; it need not exist.
        text: The text in the editor.
        version: The client's number of the text.
    """

    uri: str
    path: Path
    text: str
    version: int


class Buffers:
    """All open documents by path; documents that are no files are left alone."""

    def __init__(self) -> None:
        self._open: dict[Path, Buffer] = {}
        self.encoding: Encoding = "utf-16"

    def __iter__(self) -> Iterator[Buffer]:
        return iter(tuple(self._open.values()))

    def get(self, path: Path) -> Buffer | None:
        """Return the open document of a file."""
        return self._open.get(path)

    def put(self, uri: str, text: str, version: int) -> Path | None:
        """Open a document, or give it a whole new text; return its file."""
        path = path_of(uri)
        if path is not None:
            self._open[path] = Buffer(uri, path, text, version)
        return path

    def change(self, uri: str, changes: Sequence[Any], version: int) -> Path | None:
        """Apply changes in their order and return the file.

        Args:
            uri: The document.
            changes: The protocol's content changes: a range and its new text, or the whole text.
            version: The number of the text after the changes.
        """
        path = path_of(uri)
        buffer = self._open.get(path) if path is not None else None
        if buffer is None:
            return None
        text = buffer.text
        for change in changes:
            text = self._changed(text, change)
        return self.put(uri, text, version)

    def close(self, uri: str) -> Path | None:
        """Close a document and return its file."""
        path = path_of(uri)
        if path is not None:
            self._open.pop(path, None)
        return path

    def below(self, folder: Path) -> dict[str, str]:
        """Return the texts of the open documents below a folder by their posix path in it."""
        return {
            buffer.path.relative_to(folder).as_posix(): buffer.text
            for buffer in self
            if buffer.path.is_relative_to(folder)
        }

    def uri(self, path: Path) -> str:
        """Return a file's address, as the client spells it where it has the file open."""
        buffer = self._open.get(path)
        return buffer.uri if buffer is not None else path.as_uri()

    def _changed(self, text: str, change: Any) -> str:
        where = getattr(change, "range", None)
        if where is None:
            return str(change.text)
        lines = Lines(text)
        start = lines.offset((where.start.line, where.start.character), self.encoding)
        end = lines.offset((where.end.line, where.end.character), self.encoding)
        return text[:start] + str(change.text) + text[max(end, start) :]


def path_of(uri: str) -> Path | None:
    """Return the absolute path of a `file:` address, None for another one; links are not followed."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return None
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    name = url2pathname(parts.path) if os.name == "nt" else unquote(parts.path, errors="surrogateescape")
    if not name or "\0" in name:
        return None
    path = Path(os.path.normpath(name))
    return path if path.is_absolute() else None

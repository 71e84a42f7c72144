r"""Text of a file as tools see it, `\n` ends a line, and back to the file's own bytes."""

from __future__ import annotations

from engine.errors import WorkspaceError
from engine.workspace.lines import line_edits, split_lines

_BOM = b"\xef\xbb\xbf"


def decode_text(raw: bytes, path: str) -> str:
    r"""Return a file's text without byte order mark, with `\r\n` as `\n`.

    Raises:
        WorkspaceError: The file is not UTF-8.
    """
    try:
        return raw.removeprefix(_BOM).decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise WorkspaceError(f"{path} is not UTF-8 text (byte {error.start}); it cannot be read as text") from error


def encode_text(text: str, old: bytes | None, path: str) -> bytes:
    """Return the bytes of a text that replaces `old`, with its byte order mark and line endings.

    Lines that stay keep their own ending; new ones get the ending that most lines have.

    Args:
        text: The new text, with either line ending.
        old: The present bytes, None for a new file.
        path: The file, for the error.

    Raises:
        WorkspaceError: The text cannot be UTF-8 (it holds half a surrogate pair).
    """
    try:
        raw = text.removeprefix("\ufeff").replace("\r\n", "\n").encode("utf-8")
    except UnicodeEncodeError as error:
        raise WorkspaceError(f"the text for {path} cannot be UTF-8 (character {error.start})") from error
    if old is None:
        return raw
    mark = _BOM if old.startswith(_BOM) else b""
    return mark + _with_endings(raw, old.removeprefix(_BOM))


def _with_endings(raw: bytes, old: bytes) -> bytes:
    crlf = old.count(b"\r\n")
    if crlf == 0:
        return raw
    ending = b"\r\n" if crlf * 2 > old.count(b"\n") else b"\n"
    old_lines, new_lines = split_lines(old), split_lines(raw)
    plain = [_plain(line) for line in old_lines]
    result: list[bytes] = []
    position = 0
    for edit in line_edits(plain, new_lines):
        result.extend(old_lines[position : edit.start])
        result.extend(line[:-1] + ending if line.endswith(b"\n") else line for line in edit.lines)
        position = edit.end
    result.extend(old_lines[position:])
    return b"".join(result)


def _plain(line: bytes) -> bytes:
    return line[:-2] + b"\n" if line.endswith(b"\r\n") else line

"""Search with a regular expression that may come from a model: linear time, bounded memory, bounded results."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from engine.errors import WorkspaceError

MAX_MATCHES = 200
MAX_SECONDS = 5.0
_MAX_PATTERN = 1000
_MAX_LINE = 300
_MAX_FILE = 1 << 20
_MEMORY = 8 << 20


class SearchTimeoutError(WorkspaceError):
    """A search was given up."""


def search_lines(pattern: str, files: Iterator[tuple[str, Callable[[], bytes]]]) -> list[dict[str, Any]]:
    """Return the lines that match, each `{"path", "line", "text"}`; at most `MAX_MATCHES`, in the order of the files.

    Files that are larger than 1 MiB or hold a NUL byte are left out; a long line is cut to 300 characters.

    Args:
        pattern: A regular expression in RE2's syntax (https://github.com/google/re2/wiki/Syntax).
        files: Paths and functions that read them.

    Raises:
        WorkspaceError: The pattern is not valid, or the search took too long.
    """
    line_pattern, file_pattern = _compiled(pattern)
    deadline = time.monotonic() + MAX_SECONDS
    found: list[dict[str, Any]] = []
    for path, read in files:
        raw = read()
        if len(raw) > _MAX_FILE or b"\0" in raw or not file_pattern.search(raw):
            continue
        for number, line in enumerate(raw.split(b"\n"), 1):
            if line_pattern.search(line.removesuffix(b"\r")):
                text = line.removesuffix(b"\r").decode("utf-8", "replace")
                found.append({"path": path, "line": number, "text": text[:_MAX_LINE]})
                if len(found) == MAX_MATCHES:
                    return found
        if time.monotonic() > deadline:
            raise SearchTimeoutError(f"the search took more than {MAX_SECONDS:g} s; name fewer files with the glob")
    return found


def _compiled(pattern: str) -> tuple[Any, Any]:
    """Compile for one line, and for a whole file to tell quickly that no line matches."""
    import re2

    if len(pattern) > _MAX_PATTERN:
        raise WorkspaceError(f"the pattern is longer than {_MAX_PATTERN} characters; use a shorter one")
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    try:
        raw = pattern.encode()
        line = re2.compile(raw, options)
        whole = re2.compile(b"" if b"\\A" in raw or b"\\z" in raw else b"(?m:" + raw + b")", options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0].decode("utf-8", "replace") if isinstance(error, re2.error) else str(error)
        raise WorkspaceError(
            f"{pattern!r} is not a pattern: {reason} (RE2 syntax; look-around and back-references are not supported)"
        ) from error
    return line, whole

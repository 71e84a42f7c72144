"""Finds in the log of a vLLM server why it failed."""

from __future__ import annotations

import re
from pathlib import Path

_TAIL_BYTES = 256 * 1024
_TAIL_LINES = 12
_MOST = 300
# `(EngineCore pid=12) ERROR 11-20 08:15:42 [core.py:1100] ` and its parts, as vLLM's logger writes them; ANSI colours.
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PREFIX = re.compile(r"^(\([\w ]+ pid=\d+\) *)?((DEBUG|INFO|WARNING|ERROR|CRITICAL) [\d-]+ [\d:.]+ \[[^\]]*\] ?)?")
_ERROR = re.compile(r"^(?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Failed|Exit)\b(?:: .*)?$")
_USAGE = re.compile(r"^\S+: error: ")
_KILLED = re.compile(r"^(Killed|Out of memory|Segmentation fault)", re.IGNORECASE)
# Errors that only say that there was an error elsewhere.
_HOLLOW = re.compile(
    r"See (root cause above|stack trace)|Engine core (proc )?\S* ?(initialization failed|died)|EngineDeadError|"
    r"SystemExit|CancelledError|KeyboardInterrupt|^[\w.]+$|leaked \w+ objects"
)


def tail(path: Path) -> list[str]:
    """Return the last lines of a log without colours, process names and dates; none when it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            text = stream.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line for line in map(clean, text.splitlines()) if line.strip()]


def clean(line: str) -> str:
    """Return one line of the log as the program meant it."""
    return _PREFIX.sub("", _COLOUR.sub("", line.rsplit("\r", 1)[-1])).rstrip()


def root_cause(lines: list[str]) -> str | None:
    """Return the line that says what went wrong first, or None.

    In a chain of tracebacks the cause comes first, what came of it in other processes later.
    """
    for index, line in enumerate(lines):
        found = _ERROR.match(line) or _USAGE.match(line) or _KILLED.match(line)
        if found and not _HOLLOW.search(line):
            return _whole(lines, index)[:_MOST]
    return None


def _whole(lines: list[str], index: int) -> str:
    """Add the first detail of an error that counts its details (`1 validation error for ModelConfig`)."""
    line = lines[index]
    if re.search(r"\d+ validation errors? for ", line):
        detail = next((part.strip() for part in lines[index + 1 : index + 4] if part.startswith("  ")), "")
        line = f"{line}: {detail}"
    return re.sub(r" \[type=\w+, input_value=.*", "", line)


def story(path: Path) -> str:
    """Return the cause and the last lines of a log, for a message."""
    lines = tail(path)
    cause = root_cause(lines)
    last = "\n".join(f"  {line[:_MOST]}" for line in lines[-_TAIL_LINES:])
    said = cause or (lines[-1][:_MOST] if lines else "it wrote nothing")
    return f"{said}\nthe end of its log:\n{last}" if last else said

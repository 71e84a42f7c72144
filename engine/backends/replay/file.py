"""Recordings as files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from pydantic import ValidationError

from engine.backends.replay.tape import FORMAT, Label, Tape
from engine.backends.replay.text import dump, load
from engine.errors import ConfigError
from engine.files import atomic_write

MAX_BYTES = 1024 * 1024
"""The largest recording, as large as any text of a bundle may be."""


def file_name(label: Label) -> str:
    """Return the name of the file of a recording: readable, and another one for every other label.

    What was lost in making it readable is made up for by a few digits of a hash.
    """
    variant = f".{_slug(label.variant, label.variant)}" if label.variant else ""
    repeat = f"@{label.repeat}" if label.repeat > 1 else ""
    readable = "" if "-" in label.case else label.case.replace(" ", "-")  # the name of a-b is not that of a b
    return f"{_slug(label.case, readable)}{variant}{repeat}.json"


def write_tape(tape: Tape, path: Path) -> None:
    """Write a recording, all of it or nothing; its folder is made.

    Raises:
        ConfigError: It is too large, or cannot be written.
    """
    raw = dump_tape(tape).encode()
    if len(raw) > MAX_BYTES:
        raise ConfigError(
            f"the case '{tape.label.case}' is not recorded: the recording has {len(raw)} bytes, more than the "
            f"{MAX_BYTES} that one may have; use a smaller snippet or fewer turns"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(path, raw)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def dump_tape(tape: Tape) -> str:
    """Return a recording as text; equal recordings give equal texts."""
    return dump(tape.model_dump())


def load_tape(raw: bytes, shown: str) -> Tape:
    """Return the recording in a file's content.

    Raises:
        ConfigError: It is none, or of another format; the message is one line that names the file.
    """
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{shown} is no recording: it has {len(raw)} bytes, more than {MAX_BYTES}")
    try:
        value = load(raw.decode())
    except UnicodeDecodeError as error:
        raise ConfigError(f"{shown} is no recording: it is not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise ConfigError(f"{shown} is no recording: {error}") from error
    found = value.get("format") if isinstance(value, dict) else None
    if found is None:
        raise ConfigError(f"{shown} is no recording: it has no 'format'")
    if not isinstance(found, int) or found != FORMAT:
        raise ConfigError(f"{shown} has the format {str(found)[:40]!r}; this version of the engine reads {FORMAT}")
    try:
        return Tape.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"{shown} is no recording: {place}: {first['msg']}") from error


def _slug(name: str, readable: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60].rstrip("-")
    if slug and slug == readable:
        return slug
    return f"{slug}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")

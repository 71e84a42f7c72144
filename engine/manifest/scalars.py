"""Plain YAML scalars: what they are, and which of them are not what they seem to be.

PyYAML resolves plain scalars by YAML 1.1 (https://yaml.org/type/), editors and most other readers by the core schema of
YAML 1.2. Whatever the two read differently is reported, never guessed.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

_PREFIX = "tag:yaml.org,2002:"
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TRUE_WORDS = frozenset({"yes", "on"})
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$")
_MAX_DIGITS = 300


@dataclass(frozen=True, slots=True)
class Surprise:
    """Why a scalar is refused: the code, the message (without its place), the help and a certain replacement."""

    code: str
    message: str
    help: str
    replacement: str | None = None


def read_scalar(tag: str, text: str) -> Any | Surprise:
    """Return the value of a plain scalar, or the Surprise that it is.

    Args:
        tag: The tag that the YAML 1.1 resolver gave it.
        text: The scalar as written.
    """
    kind = tag.removeprefix(_PREFIX)
    if kind in ("str", "value"):
        return text
    if kind == "null":
        return None
    reader = _READERS.get(kind)
    return (
        reader(text) if reader else Surprise("Y007", f"the tag '{tag}' is not part of the format", "leave the tag out")
    )


def _read_bool(text: str) -> Any:
    if text in _BOOLS:
        return _BOOLS[text]
    word = "true" if text.lower() in _TRUE_WORDS else "false"
    return _surprise(text, f"{word} in YAML 1.1 and text in YAML 1.2", f"write {word}, or quote it")


def _read_int(text: str) -> Any:
    if _INT.match(text):
        return _too_large(text) if len(text) > _MAX_DIGITS else int(text)
    if re.match(r"[-+]?0x[0-9a-fA-F]+$", text) and len(text) <= _MAX_DIGITS:
        return int(text, 16)
    if ":" in text:
        return _surprise(
            text, "a number in base 60 in YAML 1.1 and text in YAML 1.2", "quote it, or write the number out"
        )
    if re.match(r"[-+]?0[0-7]+$", text):
        return _surprise(
            text, "an octal number in YAML 1.1 and a decimal one in YAML 1.2", "quote it, or drop the leading 0"
        )
    return _surprise(text, "a number in YAML 1.1 and text in YAML 1.2", "quote it, or write a plain decimal number")


def _read_float(text: str) -> Any:
    if not _FLOAT.match(text):
        if ":" in text:
            return _surprise(
                text, "a number in base 60 in YAML 1.1 and text in YAML 1.2", "quote it, or write the number out"
            )
        return _surprise(text, "not a finite decimal number", "quote it, or write a plain decimal number")
    value = float(text)
    return value if math.isfinite(value) else _too_large(text)


def _read_date(text: str) -> Surprise:
    return _surprise(text, "a date in YAML 1.1 and text in YAML 1.2", "quote it")


def _read_merge(text: str) -> Surprise:
    return Surprise("Y007", f"the merge key '{text}' is not part of the format", "write the keys out")


def _too_large(text: str) -> Surprise:
    return Surprise("S005", f"the number {text[:20]}… is too large", "write a smaller number")


def _surprise(text: str, meaning: str, way_out: str) -> Surprise:
    return Surprise("Y004", f"plain {text} is {meaning}", way_out, f'"{text}"')


_READERS = {
    "bool": _read_bool,
    "int": _read_int,
    "float": _read_float,
    "timestamp": _read_date,
    "merge": _read_merge,
}

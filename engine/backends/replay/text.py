"""How a recording is written: JSON whose long texts stand line by line, so that its changes can be read in git.

A text of several lines becomes `{"lines": [...]}`. A mapping that looks like one, or like this escape, is put into
`{"value": ...}`, so that everything is read back as it was. What a terminal or a viewer would not show as it is
(control characters, lone surrogates, marks that turn the direction of writing) is escaped.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from typing import Any

_LINES, _VALUE = "lines", "value"
_RAW = re.compile(r"[^\x00-\x7e]")


def plain(value: Any) -> Any:
    """Return a JSON value as a server would read it: lists for tuples, dicts for mappings, joined surrogate pairs.

    Raises:
        TypeError: It is no JSON value.
    """
    return json.loads(json.dumps(value, default=_mapping))


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are sent as the same bytes; the order of keys counts, as a prompt template sees it."""
    return json.dumps(one, default=_mapping) == json.dumps(other, default=_mapping)


def dump(value: Any) -> str:
    """Return the text of a recording; equal values give equal texts."""
    text = json.dumps(_fold(value), ensure_ascii=False, indent=1)
    return _RAW.sub(_shown, text) + "\n"


def load(text: str) -> Any:
    """Return the value of a recording's text.

    Raises:
        ValueError: It is no JSON, or a text in it is none.
    """
    try:
        return _unfold(json.loads(text))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _mapping(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _fold(value: Any) -> Any:
    if isinstance(value, str):
        return {_LINES: value.split("\n")} if "\n" in value else value
    if isinstance(value, Mapping):
        folded = {key: _fold(item) for key, item in value.items()}
        return {_VALUE: folded} if set(folded) in ({_LINES}, {_VALUE}) else folded
    if isinstance(value, list | tuple):
        return [_fold(item) for item in value]
    return value


def _unfold(value: Any) -> Any:
    if isinstance(value, list):
        return [_unfold(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_LINES}:
        lines = value[_LINES]
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
            raise ValueError("the lines of a text are not a list of texts")
        return "\n".join(lines)
    inner = value[_VALUE] if set(value) == {_VALUE} and isinstance(value[_VALUE], dict) else value
    return {key: _unfold(item) for key, item in inner.items()}


def _shown(found: re.Match[str]) -> str:
    char = found[0]
    return char if char.isprintable() else "".join(f"\\u{unit:04x}" for unit in _units(char))


def _units(char: str) -> tuple[int, ...]:
    raw = char.encode("utf-16-be", "surrogatepass")
    return struct.unpack(f">{len(raw) // 2}H", raw)

"""What differs between a recorded request and the one that is made now, for the person who must judge it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

from engine.backends.replay.tape import Asked
from engine.backends.replay.text import same

MAX_LINES, MAX_WIDTH = 200, 500
# A comparison takes up to the square of the number of lines; of more, those from the first difference on are compared.
_WINDOW = 1000


def differing(recorded: Asked, now: Asked) -> list[str]:
    """Return the names of the fields in which two requests differ."""
    return [name for name in Asked.model_fields if not same(_field(recorded, name), _field(now, name))]


def difference(recorded: Asked, now: Asked) -> str:
    """Return what differs, field by field; texts as a unified diff. Empty for equal requests."""
    lines: list[str] = []
    for name in differing(recorded, now):
        lines += _diff(name, recorded, now) if name in ("messages", "tools") else _values(name, recorded, now)
    left = len(lines) - MAX_LINES
    lines = [line if len(line) <= MAX_WIDTH else f"{line[:MAX_WIDTH]}…" for line in lines]
    return "\n".join(lines[:MAX_LINES] + ([f"… and {left} more lines"] if left > 0 else []))


def _field(request: Asked, name: str) -> Any:
    value = getattr(request, name)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def _values(name: str, recorded: Asked, now: Asked) -> Iterator[str]:
    old, new = _field(recorded, name), _field(now, name)
    if name == "constraint" and {**old, "sha256": ""} == {**new, "sha256": ""}:
        yield f"constraint: another text of kind {new['kind']}, by strategy {new['strategy']}"
        return
    pairs = [(name, old, new)]
    if isinstance(old, dict) and isinstance(new, dict):
        pairs = [(f"{name}.{key}", old.get(key), new.get(key)) for key in {**old, **new}]
    for key, before, after in pairs:
        if not same(before, after):
            yield f"{key}: recorded {_short(before)}, now {_short(after)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:120]}…"


def _diff(name: str, recorded: Asked, now: Asked) -> Iterator[str]:
    old, new = _lines(getattr(recorded, name)), _lines(getattr(now, name))
    if old == new:
        yield f"{name}: they are parted otherwise, with the same text in all"
    if max(len(old), len(new)) > _WINDOW:
        first = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), len(old))
        start = max(0, min(first, len(new)) - 3)
        yield f"{name}: {len(old)} lines recorded, {len(new)} now; from line {start + 1} on:"
        old, new = old[start : start + _WINDOW], new[start : start + _WINDOW]
    yield from difflib.unified_diff(old, new, f"{name} recorded", f"{name} now", lineterm="")


def _lines(values: Sequence[Any]) -> list[str]:
    """Return messages or tools as lines: the content of a message as it is, everything else as JSON."""
    lines: list[str] = []
    for value in values:
        rest, content = value, ""
        if isinstance(value, dict) and isinstance(value.get("content"), str):
            rest, content = {key: item for key, item in value.items() if key != "content"}, value["content"]
        lines += json.dumps(rest, ensure_ascii=False, indent=None if content else 1).split("\n")
        lines += content.split("\n") if content else []
    return lines

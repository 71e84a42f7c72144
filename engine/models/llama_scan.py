"""Finds the calls of Llama 3 in a reply's text: JSON objects without tags, several of them with `;` between.

A call is an object with a `name` and `parameters` (or `arguments`, which the models write too). Any other object is
text, unless it is named as a known tool. What looks like a call and cannot be read is reported with its raw text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from engine.messages import MalformedCall, Reply
from engine.models.call_json import CallFault, as_arguments, json_end, load
from engine.models.scanner import Found

PYTHON_TAG = "<|python_tag|>"
_START = re.compile(r'<\|python_tag\|>|(?:\[[ \t\r\n]*)?\{[ \t\r\n]*"')
_BLANKS = re.compile(r"[ \t\r\n]*")
_SEPARATOR = re.compile(r"[ \t\r\n]*;")
_NAMED = re.compile(r'(?:\[[ \t\r\n]*)?\{[ \t\r\n]*"name"[ \t\r\n]*:')
_KEYS = ("parameters", "arguments")


def scan_llama_calls(text: str, known: Collection[str] = ()) -> Reply:
    """Return the calls of a reply, the calls that cannot be read, and the text around them (stripped).

    Args:
        text: The reply.
        known: Names of the tools: an object that names one is meant as a call, whatever else it lacks.
    """
    found, at = Found(), 0
    while (start := _START.search(text, at)) is not None:
        found.text.append(text[at : start.start()])
        at = _one(text, start.start(), known, found)
    found.text.append(text[at:])
    return found.reply()


def _one(text: str, start: int, known: Collection[str], found: Found) -> int:
    """Read what may be a call and return where the text goes on."""
    tagged = text.startswith(PYTHON_TAG, start)
    body = _past(_BLANKS, text, start + len(PYTHON_TAG)) if tagged else start
    try:
        end = json_end(text, body)
    except CallFault as fault:
        read = len(text) if fault.cut_off else body + fault.at + 1
        meant = tagged or _meant(text[body:read], known, cut_off=fault.cut_off)
        stop = _after(text, body, fault, meant=meant)
        _keep(text[start:stop], fault if meant else None, found)
        return stop
    try:
        calls = _read(text[body:end], known, sure=tagged)
    except CallFault as fault:
        _keep(text[start:end], fault, found)
        return _past(_SEPARATOR, text, end)
    if not calls:
        found.text.append(text[start:end])
        return end
    found.calls += calls
    return _past(_SEPARATOR, text, end)


def _keep(raw: str, fault: CallFault | None, found: Found) -> None:
    if fault is None:
        found.text.append(raw)
    else:
        found.malformed.append(MalformedCall(raw, str(fault)))


def _past(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return match.end() if match else at


def _after(text: str, body: int, fault: CallFault, *, meant: bool) -> int:
    """Return where scanning goes on after JSON without an end: what belongs to a broken call ends with its line."""
    if fault.cut_off or not fault.at:
        return len(text)
    if not meant:
        return body + fault.at + 1
    line = text.find("\n", body + fault.at)
    return len(text) if line < 0 else line


def _meant(raw: str, known: Collection[str], *, cut_off: bool = False) -> bool:
    """Whether JSON that cannot be read was to be a call; one that is cut off shows it by its first key."""
    if cut_off and _NAMED.match(raw):
        return True
    named = any(f'"{name}"' in raw for name in known)
    return '"name"' in raw and (named or any(f'"{key}"' in raw for key in _KEYS))


def _read(raw: str, known: Collection[str], *, sure: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return the calls that a JSON value is; none where it is something else.

    Raises:
        CallFault: It was to be a call and is none.
    """
    try:
        value = load(raw)
    except CallFault:
        if sure or _meant(raw, known):
            raise
        return []
    items = value if isinstance(value, list) and value else [value]
    return [_call(item) for item in items] if sure or any(_is_call(item, known) for item in items) else []


def _is_call(item: Any, known: Collection[str]) -> bool:
    if not isinstance(item, Mapping) or "name" not in item:
        return False
    name = item["name"]
    return any(key in item for key in _KEYS) or (isinstance(name, str) and name in known)


def _call(item: Any) -> tuple[str, dict[str, Any]]:
    if not isinstance(item, Mapping):
        raise CallFault("the call is not a JSON object")
    name = item.get("name")
    if not isinstance(name, str) or not name:
        raise CallFault("the call has no 'name'")
    given = [key for key in _KEYS if key in item]
    if len(given) != 1:
        raise CallFault("the call has both 'parameters' and 'arguments'" if given else "the call has no 'parameters'")
    return name, as_arguments(item[given[0]])

"""Finds tool calls in a reply's text: a scanner over the characters, sound for any text and any truncation of it.

A call is a JSON object `{"name": …, "arguments": {…}}` between tags. The object is read with its strings, so a tag,
a brace or a quote
inside a string is only text. A reply without tags may also be such an object, or a fenced block of one, if it names
a known tool.
What looks like a call and cannot be read is reported with its raw text.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from engine.messages import MalformedCall, Reply, ToolCall
from engine.models.call_json import CallFault, json_end, read_calls

_FENCE = "```"
_WHITE = " \t\r\n"


@dataclass(frozen=True, slots=True)
class Tags:
    """What stands before and after a call."""

    open: str = "<tool_call>"
    close: str = "</tool_call>"


HERMES_TAGS = Tags()


def scan_calls(text: str, known: Collection[str] = (), tags: Tags = HERMES_TAGS) -> Reply:
    """Return the calls of a reply, the calls that cannot be read, and the text around them (stripped).

    Args:
        text: The reply.
        known: Names of the tools; only a call of one of them is recognised without tags.
        tags: What stands around a call.
    """
    found = _tagged(text, tags) if tags.open in text else untagged(text, known)
    return found.reply()


class Found:
    """What a scanner has found so far, in the order of the text.

    Attributes:
        text: The pieces around the calls.
        calls: Name and arguments of each call.
        malformed: What looks like a call and cannot be read.
    """

    def __init__(self) -> None:
        self.text: list[str] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.malformed: list[MalformedCall] = []

    def reply(self) -> Reply:
        """Return the findings as a reply, its text stripped."""
        calls = tuple(ToolCall(f"call_{number}", *call) for number, call in enumerate(self.calls, start=1))
        return Reply("".join(self.text).strip(), calls, tuple(self.malformed))


def skip_blank(text: str, at: int) -> int:
    """Return the offset of the first character that is not blank."""
    while at < len(text) and text[at] in _WHITE:
        at += 1
    return at


def is_start(text: str, at: int, token: str) -> bool:
    """Whether the text ends within a token that begins at the offset."""
    return len(text) - at < len(token) and token.startswith(text[at:])


def _tagged(text: str, tags: Tags) -> Found:
    found, at = Found(), 0
    while (start := text.find(tags.open, at)) >= 0:
        found.text.append(text[at:start])
        at = one_tagged(text, start, tags, found)
    found.text.append(text[at:])
    return found


def one_tagged(text: str, start: int, tags: Tags, found: Found) -> int:
    """Read the JSON call whose tag starts at `start` and return where the text goes on."""
    body = skip_blank(text, start + len(tags.open))
    try:
        end = json_end(text, body)
        calls = read_calls(text[body:end])
    except CallFault as fault:
        stop = _after_cut(text, body, tags) if fault.cut_off else _resume(text, body + fault.at, tags)
        found.malformed.append(MalformedCall(text[start:stop], str(fault)))
        return stop
    after = skip_blank(text, end)
    if text.startswith(tags.close, after):
        found.calls += calls
        return after + len(tags.close)
    if after == len(text) or text.startswith(tags.open, after):
        found.calls += calls
        return after
    stop = _resume(text, after, tags)
    found.malformed.append(MalformedCall(text[start:stop], f"the call is not closed by {tags.close}"))
    return stop


def _after_cut(text: str, at: int, tags: Tags) -> int:
    """Return where scanning goes on after JSON that does not end: only after an end tag on a line of its own.

    Any other tag may be text inside the string that does not end, and what is only text must never become a call.
    """
    close = text.find("\n" + tags.close, at)
    return len(text) if close < 0 else close + 1 + len(tags.close)


def _resume(text: str, at: int, tags: Tags) -> int:
    """Return where scanning goes on after a call that cannot be read: after its end tag, or at the next call."""
    close, following = text.find(tags.close, at), text.find(tags.open, at)
    if following >= 0 and (close < 0 or following < close):
        return following
    return len(text) if close < 0 else close + len(tags.close)


def untagged(text: str, known: Collection[str]) -> Found:
    """Return the calls of known tools in a reply that is nothing but their JSON, or fenced blocks of it.

    Args:
        text: A reply without the family's own sign of a call.
        known: Names of the tools.
    """
    found = Found()
    if known and not _take(text, skip_blank(text, 0), len(text.rstrip()), known, found):
        _fences(text, known, found)
    elif not known:
        found.text.append(text)
    return found


def _fences(text: str, known: Collection[str], found: Found) -> None:
    at = 0
    while (start := text.find(_FENCE, at)) >= 0:
        line = text.find("\n", start)
        body = skip_blank(text, line if line >= 0 else len(text))
        try:
            end = json_end(text, body)
        except CallFault:
            end = text.find(_FENCE, body)
        stop = text.find(_FENCE, end) if end >= 0 else -1
        last = stop if stop >= 0 else len(text)
        taken = _take(text, body, len(text[:last].rstrip()), known, found, text[at:start])
        past = last + len(_FENCE) if stop >= 0 else len(text)
        if not taken:
            found.text.append(text[at:past])
        at = past
    found.text.append(text[at:])


def _take(text: str, start: int, stop: int, known: Collection[str], found: Found, before: str = "") -> bool:
    """Take `text[start:stop]` as calls if it is nothing but calls of known tools, or a broken call of one."""
    if text[start : start + 1] not in ("{", "["):
        return False
    raw = text[start:stop]
    try:
        if json_end(text, start) != stop:
            return False
        calls = read_calls(raw)
    except CallFault as fault:
        if not _names_known(raw, known):
            return False
        found.text.append(before)
        found.malformed.append(MalformedCall(raw, str(fault)))
        return True
    if not calls or any(name not in known for name, _ in calls):
        return False
    found.text.append(before)
    found.calls += calls
    return True


def _names_known(raw: str, known: Collection[str]) -> bool:
    return '"name"' in raw and any(f'"{name}"' in raw for name in known)

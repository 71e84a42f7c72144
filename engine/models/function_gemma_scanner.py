"""Finds FunctionGemma's calls in a reply: a scanner over the characters, sound for any text and any truncation of it.

A call is `<start_function_call>call:NAME{key:value,…}<end_function_call>`. Its strings stand between `<escape>` tokens
and may hold anything else, so a token, a brace or a quote inside one is only text. What a value that is no string means
is settled with the tool's schema, where there is one.

The model's extra stop sequence is `<start_function_response>`: what a server that does not stop there lets it write
after that is a made-up result, and a call after it is reported as malformed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from engine.messages import MalformedCall, Reply, ToolSchema
from engine.models.call_json import CallFault
from engine.models.function_gemma_format import CALL_CLOSE, CALL_OPEN, ESCAPE, RESPONSE_OPEN
from engine.models.function_gemma_values import read_members, typed_arguments
from engine.models.scanner import Found, is_start, skip_blank, untagged

_NAME_MARK = "call:"
_MARKS = re.compile(f"{CALL_OPEN}|{RESPONSE_OPEN}")
_TOKENS = re.compile(f"{CALL_OPEN}|{CALL_CLOSE}|{RESPONSE_OPEN}|{ESCAPE}")


def scan_function_calls(text: str, tools: Sequence[ToolSchema] = ()) -> Reply:
    """Return the calls of a reply, the calls that cannot be read, and the text around them (stripped).

    Args:
        text: The reply.
        tools: The tools; only a call of one of them is recognised in bare JSON, and their schemas type the values.
    """
    if CALL_OPEN not in text and RESPONSE_OPEN not in text:
        return untagged(text, [tool.name for tool in tools]).reply()
    schemas = {tool.name: tool.parameters for tool in tools}
    found, at = Found(), 0
    while (start := _next_call(text, at, found)) is not None:
        at = _one_call(text, start, schemas, found)
    return found.reply()


def _next_call(text: str, at: int, found: Found) -> int | None:
    """Keep the text up to the next call and return where that starts; None at the end of the reply."""
    mark = _MARKS.search(text, at)
    found.text.append(text[at : mark.start() if mark else len(text)])
    if mark is None or mark[0] == CALL_OPEN:
        return mark and mark.start()
    start = text.find(CALL_OPEN, mark.end())
    if start >= 0:
        found.malformed.append(MalformedCall(text[start:], "the call follows a result that the model made up"))
    return None


def _one_call(text: str, start: int, schemas: dict[str, Any], found: Found) -> int:
    """Read the call that starts at `start` and return where the text goes on."""
    body = start + len(CALL_OPEN)
    try:
        name, brace = _name(text, body)
        members, end = read_members(text, brace)
        arguments = typed_arguments(schemas.get(name), members)
    except CallFault as fault:
        stop = len(text) if fault.cut_off else _resume(text, max(body, fault.at))
        found.malformed.append(MalformedCall(text[start:stop], str(fault)))
        return stop
    after = skip_blank(text, end)
    if text.startswith(CALL_CLOSE, after):
        found.calls.append((name, arguments))
        return after + len(CALL_CLOSE)
    if after == len(text) or text.startswith((CALL_OPEN, RESPONSE_OPEN), after):
        found.calls.append((name, arguments))
        return after
    stop = _resume(text, after)
    found.malformed.append(MalformedCall(text[start:stop], f"the call is not closed by {CALL_CLOSE}"))
    return stop


def _name(text: str, at: int) -> tuple[str, int]:
    """Return the name of the called tool and the offset of the brace after it."""
    start = skip_blank(text, at)
    if not text.startswith(_NAME_MARK, start):
        cut_off = is_start(text, start, _NAME_MARK)
        raise CallFault(f"no '{_NAME_MARK}' where the tool's name should be", start, cut_off=cut_off)
    start += len(_NAME_MARK)
    brace = next((place for place in range(start, len(text)) if text[place] in "{<\n"), len(text))
    if brace == len(text):
        raise CallFault("the call is cut off in the tool's name", cut_off=True)
    name = text[start:brace].strip()
    if not name or text[brace] != "{":
        raise CallFault("the call has no tool name with '{' after it", start)
    return name, brace


def _resume(text: str, at: int) -> int:
    """Return where scanning goes on after a call that cannot be read: after its end, or at the next call.

    What stands between `<escape>` tokens is passed over, for what is only text must never become a call.
    """
    while mark := _TOKENS.search(text, at):
        if mark[0] != ESCAPE:
            return mark.end() if mark[0] == CALL_CLOSE else mark.start()
        closing = text.find(ESCAPE, mark.end())
        if closing < 0:
            break
        at = closing + len(ESCAPE)
    return len(text)

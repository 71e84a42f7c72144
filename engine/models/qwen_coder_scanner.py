"""Finds Qwen3-Coder's calls in a reply: a scanner over the characters, sound for any text and any truncation of it.

A call is `<tool_call>`, `<function=NAME>`, `<parameter=KEY>` with its value and `</parameter>` for each argument,
`</function>` and `</tool_call>`. A value goes on to the next `</parameter>`, so any other tag inside it is only text.
Between the outer tags there may be several functions, or a JSON call; a function of a known tool is taken without them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from engine.messages import MalformedCall, Reply, ToolSchema
from engine.models.call_json import CallFault
from engine.models.qwen_coder_values import typed_parameters
from engine.models.scanner import HERMES_TAGS, Found, is_start, one_tagged, skip_blank, untagged

OPEN, CLOSE = HERMES_TAGS.open, HERMES_TAGS.close
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"
_MARKS = re.compile(f"{OPEN}|{FUNCTION}")
_AFTER_FAULT = re.compile(f"{OPEN}|{CLOSE}|{PARAMETER}")
_AFTER_BARE_FAULT = re.compile(f"{OPEN}|{FUNCTION_END}|{PARAMETER}")
_CUT = "the call is cut off before its end"


def scan_xml_calls(text: str, tools: Sequence[ToolSchema] = ()) -> Reply:
    """Return the calls of a reply, the calls that cannot be read, and the text around them (stripped).

    Args:
        text: The reply.
        tools: The tools; only a call of one of them is recognised without `<tool_call>`, and their schemas type the
            values, which are all strings otherwise.
    """
    schemas = {tool.name: tool.parameters for tool in tools}
    if OPEN not in text and not any(f"{FUNCTION}{name}>" in text for name in schemas):
        return untagged(text, schemas).reply()
    return _Scan(text, schemas).reply()


class _Scan:
    def __init__(self, text: str, schemas: dict[str, Any]) -> None:
        self._text, self._schemas = text, schemas
        self._found = Found()

    def reply(self) -> Reply:
        at = start = 0
        while mark := _MARKS.search(self._text, at):
            bare = mark[0] == FUNCTION
            if bare and not self._is_known(mark.start()):
                at = mark.end()
                continue
            self._found.text.append(self._text[start : mark.start()])
            at = start = self._function(mark.start()) if bare else self._block(mark.start())
        self._found.text.append(self._text[start:])
        return self._found.reply()

    def _is_known(self, at: int) -> bool:
        end = self._text.find(">", at, at + 300)
        return self._text[at + len(FUNCTION) : end] in self._schemas

    def _function(self, start: int) -> int:
        """Read a function without outer tags; return where the text goes on."""
        try:
            name, arguments, at = self._call(start)
        except CallFault as fault:
            return self._fail(start, fault, _AFTER_BARE_FAULT)
        self._found.calls.append((name, arguments))
        after = skip_blank(self._text, at)
        return after + len(CLOSE) if self._text.startswith(CLOSE, after) else at

    def _block(self, start: int) -> int:
        """Read what stands between the outer tags; return where the text goes on."""
        at = skip_blank(self._text, start + len(OPEN))
        if self._text[at : at + 1] in ("{", "["):
            return one_tagged(self._text, start, HERMES_TAGS, self._found)
        raw = start
        while True:
            try:
                name, arguments, at = self._call(at)
            except CallFault as fault:
                return self._fail(raw, fault, _AFTER_FAULT)
            self._found.calls.append((name, arguments))
            raw = at = skip_blank(self._text, at)
            if self._text.startswith(CLOSE, at):
                return at + len(CLOSE)
            if at == len(self._text) or self._text.startswith(OPEN, at):
                return at
            if not self._text.startswith(FUNCTION, at):
                cut_off = is_start(self._text, at, CLOSE)
                unclosed = CallFault(f"the call is not closed by {CLOSE}", at, cut_off=cut_off)
                return self._fail(raw, unclosed, _AFTER_FAULT)

    def _fail(self, start: int, fault: CallFault, marks: re.Pattern[str]) -> int:
        """Report what cannot be read and return where scanning goes on: after its end, or at the next call."""
        stop = len(self._text) if fault.cut_off else self._resume(max(start + 1, fault.at), marks)
        self._found.malformed.append(MalformedCall(self._text[start:stop], str(fault)))
        return stop

    def _resume(self, at: int, marks: re.Pattern[str]) -> int:
        # A value is passed over: what is only text must never become a call.
        while mark := marks.search(self._text, at):
            if mark[0] != PARAMETER:
                return mark.start() if mark[0] == OPEN else mark.end()
            closing = self._text.find(PARAMETER_END, mark.end())
            if closing < 0:
                break
            at = closing + len(PARAMETER_END)
        return len(self._text)

    def _call(self, at: int) -> tuple[str, dict[str, Any], int]:
        """Return name and arguments of the function at an offset, and the offset after it."""
        self._expect(FUNCTION, at)
        name, at = self._name(at + len(FUNCTION))
        values: dict[str, str] = {}
        while not self._text.startswith(FUNCTION_END, at := skip_blank(self._text, at)):
            if is_start(self._text, at, FUNCTION_END):
                raise CallFault(_CUT, cut_off=True)
            self._expect(PARAMETER, at)
            key, at = self._name(at + len(PARAMETER))
            if key in values:
                raise CallFault(f"the parameter '{key}' appears twice", at)
            values[key], at = self._value(at)
        try:
            arguments = typed_parameters(self._schemas.get(name), values)
        except CallFault as fault:
            raise CallFault(str(fault), at) from None
        return name, arguments, at + len(FUNCTION_END)

    def _expect(self, tag: str, at: int) -> None:
        if not self._text.startswith(tag, at):
            cut_off = is_start(self._text, at, tag)
            raise CallFault(_CUT if cut_off else f"no '{tag}' where it should be", at, cut_off=cut_off)

    def _name(self, at: int) -> tuple[str, int]:
        """Return the name that ends with `>`, and the offset after that."""
        end = next((place for place in range(at, len(self._text)) if self._text[place] in "><\n"), len(self._text))
        if end == len(self._text):
            raise CallFault(_CUT, cut_off=True)
        name = self._text[at:end].strip()
        if self._text[end] != ">" or not name:
            raise CallFault("a name is missing, or is not closed by '>'", at)
        return name, end + 1

    def _value(self, at: int) -> tuple[str, int]:
        """Return a parameter's text without the line breaks that belong to the tags, and the offset after it."""
        end = self._text.find(PARAMETER_END, at)
        if end < 0:
            raise CallFault("the call is cut off inside a value", cut_off=True)
        value = self._text[at:end].removeprefix("\n").removesuffix("\n")
        return value, end + len(PARAMETER_END)

"""Server-sent events: from the bytes of a stream, however they are cut, to the data of its events.

Source of the format: WHATWG HTML, section "Server-sent events"; the data `[DONE]` ends a stream of the OpenAI API.
"""

from __future__ import annotations

import re

_LINES = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class EventStream:
    """Takes bytes and gives the data of the events that are complete.

    Attributes:
        done: The end was said; what comes after it does not count.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._data: list[bytes] = []
        self._begun = False

    def feed(self, part: bytes) -> list[bytes]:
        """Take the next bytes and return the data of each event that they complete, in order."""
        text = self._rest + part
        if not self._begun:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return []
            text, self._begun = text.removeprefix(_BOM), True
        # A carriage return at the end may be the first half of a line's end.
        held = text.endswith(b"\r")
        *lines, self._rest = _LINES.split(text[:-1] if held else text)
        if held:
            self._rest += b"\r"
        return [data for line in lines if (data := self._line(line)) is not None]

    def _line(self, line: bytes) -> bytes | None:
        """Take a line; return the data of the event that it ends."""
        if self.done:
            return None
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return None
        data, self._data = b"\n".join(self._data), []
        self.done = data.startswith(b"[DONE]")
        return data if data and not self.done else None

"""JSON that comes in pieces: where it ends, by its brackets and strings alone."""

from __future__ import annotations

from typing import Literal

from engine.models.call_json import BRACKETS, MAX_DEPTH


class JsonWatch:
    """Follows one JSON object or array character by character; it agrees with `json_end` on the whole text.

    Attributes:
        state: `open` until the last bracket is closed, then `done`; `broken` where no JSON can come any more.
    """

    __slots__ = ("_escaped", "_expected", "_quoted", "state")

    def __init__(self) -> None:
        self.state: Literal["open", "done", "broken"] = "open"
        self._expected: list[str] = []
        self._quoted = self._escaped = False

    def feed(self, char: str) -> None:
        """Take the next character; the first one is the opening bracket, what comes after the end is nothing."""
        if self.state != "open":
            return
        if self._escaped:
            self._escaped = False
        elif self._quoted:
            self._quoted, self._escaped = char != '"', char == "\\"
        elif char == '"' and self._expected:
            self._quoted = True
        elif char in BRACKETS:
            self._expected.append(BRACKETS[char])
            if len(self._expected) > MAX_DEPTH:
                self.state = "broken"
        elif not self._expected or (char in "}]" and char != self._expected.pop()):
            self.state = "broken"
        elif not self._expected:
            self.state = "done"

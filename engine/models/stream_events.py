"""What a reader of a streamed reply gives: text, calls and calls that cannot be read, in their order."""

from __future__ import annotations

from dataclasses import replace

from engine.messages import MalformedCall, Reply, ToolCall

Event = str | ToolCall | MalformedCall


class Events:
    """Collects events until they are taken; the text, all together, is the start of the finished reply's.

    A reply's text is stripped, so blanks are held back until more text follows them. The calls are numbered as in the
    finished reply.
    """

    def __init__(self) -> None:
        self._ready: list[Event] = []
        self._letters: list[str] = []
        self._said: list[str] = []
        self._blanks: list[str] = []
        self._calls = self._malformed = 0

    def say(self, text: str) -> None:
        """Give text."""
        body = text.rstrip()
        if body:
            whole = "".join([*self._blanks, body])
            whole = whole if self._said else whole.lstrip()
            self._letters.append(whole)
            self._said.append(whole)
            self._blanks = []
        if len(body) < len(text):
            self._blanks.append(text[len(body) :])

    def give(self, found: Reply) -> None:
        """Give the calls of a part of the reply."""
        self._settle()
        for call in found.tool_calls:
            self._calls += 1
            self._ready.append(replace(call, id=f"call_{self._calls}"))
        self._malformed += len(found.malformed)
        self._ready += found.malformed

    def take(self) -> list[Event]:
        """Return what was given since it was last taken; text in a row is one piece."""
        self._settle()
        ready, self._ready = self._ready, []
        return ready

    def missing(self, reply: Reply) -> tuple[Event, ...]:
        """Return what was never given of the finished reply."""
        said = "".join(self._said)
        text = reply.text[len(said) :] if reply.text.startswith(said) else ""
        calls: tuple[Event, ...] = (*reply.tool_calls[self._calls :], *reply.malformed[self._malformed :])
        return (text, *calls) if text else calls

    def _settle(self) -> None:
        if self._letters:
            self._ready.append("".join(self._letters))
            self._letters = []

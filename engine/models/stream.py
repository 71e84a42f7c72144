"""A reply that comes in pieces: its text as soon as that cannot be a call, and each call once it is complete.

Every character is looked at once, by one of a few states. What may be a call is held back, and parsed by the plugin
where its end is seen; so a reply takes linear time, whatever it holds. After a call that cannot be read everything is
held back until the reply ends, since what follows may belong to it; so is what may be a call without the family's own
mark, since a mark that comes later makes it text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.messages import Reply, ToolSchema
from engine.models.base import ModelPlugin
from engine.models.json_watch import JsonWatch
from engine.models.stream_events import Event, Events

_FENCE = "```"
_WHITE = " \t\r\n"
# How often, on average, a character may be parsed again while the end of a call that is not JSON is looked for.
_EFFORT = 8


class ReplyReader:
    """Reads one reply.

    Args:
        plugin: The model family.
        tools: The tools that the reply may call.

    Attributes:
        rest: After `finish`, what `feed` had not given: the end of the text, calls, and calls that cannot be read.
        scanned: How many characters were looked at so far, those that were parsed again included.
    """

    def __init__(self, plugin: ModelPlugin, tools: Sequence[ToolSchema] = ()) -> None:
        self.rest: tuple[Event, ...] = ()
        self.scanned = 0
        self._plugin, self._tools, self._marks = plugin, tools, plugin.call_marks()
        untagged = self._marks.untagged and bool(tools)
        self._signs = (*self._marks.starts, _FENCE) if untagged else self._marks.starts
        self._reach = max(1, *map(len, (*self._signs, self._marks.end)))
        self._whole: list[str] = []
        self._length = 0
        self._events = Events()
        self._pending, self._tail, self._head = "", "", ""
        self._held: list[str] = []
        self._watch = JsonWatch()
        self._step: Callable[[str], None] = self._leading if untagged else self._text

    def feed(self, piece: str) -> list[Event]:
        """Take the next piece of the reply's text and return what is certain now: text, and complete calls."""
        self._whole.append(piece)
        self._length += len(piece)
        self._read(piece)
        return self._events.take()

    def finish(self, api_calls: Sequence[Mapping[str, Any]] = ()) -> Reply:
        """Return the reply, exactly as the plugin parses the whole text; `rest` is what `feed` had not given.

        Args:
            api_calls: Calls that the server parsed itself; the text is only text then.
        """
        reply = self._plugin.parse_response("".join(self._whole), self._tools, api_calls)
        self.scanned += self._length
        self.rest = self._events.missing(reply)
        return reply

    def _read(self, text: str) -> None:
        self.scanned += len(text)
        for char in text:
            self._step(char)

    def _text(self, char: str) -> None:
        """Outside of everything that may be a call."""
        sign = self._match(char)
        if sign == _FENCE:
            self._hold(sign)
            self._step = self._fence_line
        elif sign is not None:
            self._begin(sign)

    def _match(self, char: str) -> str | None:
        """Return the sign that a character completes; what cannot become one is text."""
        pending = self._pending + char
        while pending and not any(sign.startswith(pending) for sign in self._signs):
            self._events.say(pending[0])
            pending = pending[1:]
        self._pending = "" if pending in self._signs else pending
        return pending if pending in self._signs else None

    def _hold(self, text: str) -> None:
        self._held, self._tail = [text], text

    def _keep(self, char: str) -> None:
        self._held.append(char)
        self._tail = (self._tail + char)[-self._reach :]

    def _let_go(self) -> None:
        """Give what was held: it is text."""
        self._events.say("".join(self._held))
        self._held, self._step = [], self._text

    def _leading(self, char: str) -> None:
        """Before the first character that is not blank."""
        if char in _WHITE:
            self._events.say(char)
        elif char in "{[":
            self._hold(char)
            self._follow(char)
            self._step = self._bare
        else:
            self._step = self._text
            self._text(char)

    def _bare(self, char: str) -> None:
        """In a reply that has been nothing but JSON so far."""
        if self._started(char):
            return
        self._watch.feed(char)
        if self._watch.state == "done":
            self._step = self._after_bare

    def _after_bare(self, char: str) -> None:
        """After JSON that is a call if nothing follows it."""
        if not self._started(char) and not char.isspace():
            held, self._held, self._step = "".join(self._held), [], self._text
            self._read(held)

    def _fence_line(self, char: str) -> None:
        """In the line of an opening fence."""
        if not self._started(char) and char == "\n":
            self._step = self._fence_body

    def _fence_body(self, char: str) -> None:
        """Before the first character of a fenced block."""
        if char in _WHITE:
            self._keep(char)
        elif char in "{[":
            self._keep(char)
            self._step = self._waiting
        else:
            self._let_go()
            self._step = self._fenced
            self._fenced(char)

    def _fenced(self, char: str) -> None:
        """In a fenced block that is no call."""
        sign = self._match(char)
        if sign == _FENCE:
            self._events.say(sign)
            self._step = self._text
        elif sign is not None:
            self._begin(sign)

    def _waiting(self, char: str) -> None:
        """In what may be calls, until the family's own mark shows that it is text."""
        self._started(char)

    def _started(self, char: str) -> bool:
        """Keep a character; at the family's own mark a call begins, and what was held before it is text."""
        self._keep(char)
        sign = next((sign for sign in self._marks.starts if self._tail.endswith(sign)), None)
        if sign is None:
            return False
        self._events.say("".join(self._held)[: -len(sign)])
        self._begin(sign)
        return True

    def _begin(self, sign: str) -> None:
        """Begin to read the call that starts with a mark."""
        self._signs = self._marks.starts
        self._hold(sign)
        if sign in "{[":
            self._head, self._step = sign, self._object
        else:
            self._step = self._body if self._marks.json else self._inside

    def _object(self, char: str) -> None:
        """At the start of JSON that has no tag: only an object with a key, or an array of such, may be a call."""
        if char in _WHITE:
            self._held.append(char)
        elif self._head + char in ("[{", '{"', '[{"'):
            self._held.append(char)
            self._head += char
            if char == '"':
                self._follow(self._head)
                self._step = self._json
        else:
            self._let_go()
            self._text(char)

    def _body(self, char: str) -> None:
        """Between a tag and the JSON after it."""
        self._held.append(char)
        if char not in _WHITE:
            self._follow(char)
            self._step = self._json if self._watch.state == "open" else self._lost

    def _follow(self, text: str) -> None:
        self._watch = JsonWatch()
        for char in text:
            self._watch.feed(char)

    def _json(self, char: str) -> None:
        """In the JSON of a call."""
        self._held.append(char)
        self._watch.feed(char)
        if self._watch.state == "broken":
            self._step = self._lost
        elif self._watch.state == "done" and self._marks.end:
            self._tail, self._step = "", self._closing
        elif self._watch.state == "done":
            self._settle()

    def _closing(self, char: str) -> None:
        """Between the JSON of a call and its end, or the next call where the end is left out."""
        self._keep(char)
        sign = next((sign for sign in self._marks.starts if self._tail.endswith(sign)), None)
        if sign is not None:
            self._step = self._lost
            if self._take("".join(self._held)[: -len(sign)]):
                self._begin(sign)
        elif self._tail.endswith(self._marks.end) and not self._take("".join(self._held)):
            self._step = self._lost

    def _inside(self, char: str) -> None:
        """In a call that is not JSON: its end may be part of an argument, so it counts if the call is whole."""
        self._keep(char)
        if self._tail.endswith(self._marks.end) and self.scanned + len(self._held) <= _EFFORT * self._length:
            self._take("".join(self._held))

    def _lost(self, char: str) -> None:
        """After what cannot be read: the whole text decides."""

    def _take(self, held: str) -> bool:
        """Give the calls of a text if it is nothing but complete calls."""
        found = self._parse(held)
        if found.malformed or found.text or not found.tool_calls:
            return False
        self._give(found)
        return True

    def _settle(self) -> None:
        """Give what a JSON value that needs no end mark is: calls, a call that cannot be read, or text."""
        found = self._parse("".join(self._held))
        if found.tool_calls or found.malformed:
            self._give(found)
        else:
            self._let_go()

    def _parse(self, held: str) -> Reply:
        self.scanned += len(held)
        return self._plugin.parse_response(held, self._tools)

    def _give(self, found: Reply) -> None:
        self._events.give(found)
        self._held, self._step = [], self._between

    def _between(self, char: str) -> None:
        """After a call: a separator, and the blanks before it, are no text."""
        if char == self._marks.separator:
            self._held, self._step = [], self._text
        elif char in _WHITE and self._marks.separator:
            self._held.append(char)
        else:
            self._let_go()
            self._text(char)

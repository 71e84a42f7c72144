"""A forgiving reading of YAML that is being written: where keys and values stand, also where the document is broken.

It is no second parser: findings come from the manifest room. This one answers what the cursor is in, line by line, and
takes whatever it sees for what it most likely becomes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

from engine.lsp.positions import Lines
from engine.manifest import JsonPath

MAX_TEXT = 512 * 1024
_DEPTH = 64
_KEY = re.compile(
    r"""(?P<quoted>"(?:[^"\\\n]|\\.)*"|'(?:[^'\n]|'')*')[ ]*:(?=\s|$)"""
    r"""|(?P<plain>[^\s#'"{}\[\],&*!|>%@`][^#\n]*?)[ ]*:(?=\s|$)"""
)
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")
_FLOW_END = re.compile(r"[,\[\]{}\n]|:(?=[\s,\[\]{}]|$)|\s#")


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a key or a value.

    Attributes:
        path: The path of the value; for a key that of the mapping it belongs to.
        role: What belongs here.
        start: Where the place begins: a cursor from here …
        end: … up to here is in it.
        text: What stands there, without quotes; empty for a mapping or a list.
        first: Where the text begins; quotes belong to it.
        last: Where it ends.
        flow: Whether it is inside of brackets.
        block: Whether it is a block of text (`|` or `>`).
    """

    path: JsonPath
    role: Literal["key", "value"]
    start: int
    end: int
    text: str
    first: int
    last: int
    flow: bool = False
    block: bool = False


class Frame(NamedTuple):
    """A key or a dash that is still open."""

    indent: int
    is_dash: bool
    path: JsonPath


@dataclass(frozen=True)
class Outline:
    """What was read.

    Attributes:
        text: The source.
        lines: The source by lines.
        slots: All places, in the order in which they begin.
        open_at: For each line what is open where it begins, outermost first.
    """

    text: str
    lines: Lines
    slots: tuple[Slot, ...]
    open_at: tuple[tuple[Frame, ...], ...]

    def keys(self, path: JsonPath) -> list[str]:
        """Return the keys of a mapping."""
        return [slot.text for slot in self.key_slots(path)]

    def key_slots(self, path: JsonPath) -> list[Slot]:
        """Return where the keys of a mapping stand."""
        return self._keys.get(path, [])

    def key(self, path: JsonPath) -> Slot | None:
        """Return where the key of a value stands."""
        mine = self.key_slots(path[:-1]) if path else []
        return next((slot for slot in mine if slot.text == path[-1]), None)

    def value(self, path: JsonPath) -> Slot | None:
        """Return where a value stands."""
        return self._values.get(path)

    def values(self, *pattern: str | int) -> Iterator[Slot]:
        """Yield the values whose path fits a pattern, in which `*` stands for any step."""
        return (slot for slot in self.slots if slot.role == "value" and fits(slot.path, pattern))

    def count(self, path: JsonPath) -> int:
        """Return how many items a list has."""
        return len(self._items.get(path, ()))

    def extent(self, path: JsonPath) -> tuple[int, int]:
        """Return where the first key or value of a part begins, and where its last one ends."""
        return self._extents.get(path, (0, 0))

    @cached_property
    def _keys(self) -> dict[JsonPath, list[Slot]]:
        found: dict[JsonPath, list[Slot]] = {}
        for slot in self.slots:
            if slot.role == "key" and slot.text:
                found.setdefault(slot.path, []).append(slot)
        return found

    @cached_property
    def _values(self) -> dict[JsonPath, Slot]:
        return {slot.path: slot for slot in reversed(self.slots) if slot.role == "value"}

    @cached_property
    def _items(self) -> dict[JsonPath, set[int]]:
        found: dict[JsonPath, set[int]] = {}
        for slot in self.slots:
            if not (slot.flow and slot.first == slot.last):
                for depth, step in enumerate(slot.path):
                    if isinstance(step, int):
                        found.setdefault(slot.path[:depth], set()).add(step)
        return found

    @cached_property
    def _extents(self) -> dict[JsonPath, tuple[int, int]]:
        found: dict[JsonPath, tuple[int, int]] = {}
        for slot in self.slots:
            if slot.text:
                for depth in range(1, len(slot.path) + 1):
                    first, last = found.get(slot.path[:depth], (slot.first, 0))
                    found[slot.path[:depth]] = (first, max(last, slot.last))
        return found


def fits(path: JsonPath, pattern: tuple[str | int, ...]) -> bool:
    """Whether a path has the form of a pattern, in which `*` stands for any step."""
    return len(path) == len(pattern) and all(want in ("*", step) for step, want in zip(path, pattern, strict=True))


@lru_cache(maxsize=16)
def read_outline(text: str) -> Outline:
    """Read a text; one that is longer than `MAX_TEXT` characters counts as empty. Never raises."""
    reader = _Reader(text if len(text) <= MAX_TEXT else "")
    reader.read()
    slots = tuple(sorted(reader.slots, key=lambda slot: (slot.start, -slot.end)))
    return Outline(reader.text, reader.lines, slots, tuple(reader.open_at))


class _Reader:
    """One pass over the lines; `stack` holds what is open."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = Lines(text)
        self.slots: list[Slot] = []
        self.open_at: list[tuple[Frame, ...]] = []
        self._stack: tuple[Frame, ...] = ()
        self._counts: Counter[JsonPath] = Counter()

    def read(self) -> None:
        """Read all lines."""
        number = 0
        while number < len(self.lines):
            following = self._line(number)
            self.open_at += [self._stack_before] + [self._stack] * (following - number - 1)
            number = following

    def _line(self, number: int) -> int:
        """Read the line, and those that belong to its value; return the number of the next one."""
        self._stack_before = self._stack
        start, end = self.lines.bounds(number)
        line = self.text[start:end]
        stripped = line.strip()
        if not stripped or stripped[0] in "#%" or stripped in ("---", "..."):
            return number + 1
        at = start + len(line) - len(line.lstrip())
        at, dashed = self._dashes(start, at, end)
        match = _KEY.match(self.text, at, end)
        if match is None:
            return self._bare(number, at, end, dashed=dashed)
        kind = "quoted" if match["quoted"] else "plain"
        path = self._open(at - start, match[kind].strip("'\"") if kind == "quoted" else match[kind])
        self._key(path, match.start(kind), match.end(kind))
        return self._value(number, path, match.end(), at - start)

    def _dashes(self, start: int, at: int, end: int) -> tuple[int, bool]:
        dashed = False
        while self.text[at:end].startswith("- ") or self.text[at:end] == "-":
            self._dash(at - start)
            dashed = True
            at += 1
            while at < end and self.text[at] == " ":
                at += 1
        return at, dashed

    def _dash(self, column: int) -> None:
        while self._stack and (
            self._stack[-1].indent > column or (self._stack[-1].is_dash and self._stack[-1].indent == column)
        ):
            self._stack = self._stack[:-1]
        above = self._path
        self._stack = (*self._stack, Frame(column, True, (*above, self._counts[above])))
        self._counts[above] += 1

    def _open(self, column: int, key: str) -> JsonPath:
        self._stack = closed(self._stack, column)
        path = (*self._path, key)
        self._stack = (*self._stack, Frame(column, False, path))
        return path

    @property
    def _path(self) -> JsonPath:
        return self._stack[-1].path if self._stack else ()

    def _key(self, path: JsonPath, first: int, last: int, *, flow: bool = False) -> None:
        self.slots.append(Slot(path[:-1], "key", first, last, str(path[-1]), first, last, flow))

    def _bare(self, number: int, at: int, end: int, *, dashed: bool) -> int:
        """A line without a key: an item, or something that is being written."""
        if dashed:
            return self._value(number, self._path, at, self._stack[-1].indent)
        column = at - self.lines.bounds(number)[0]
        above = closed(self._stack, column)
        path = above[-1].path if above else ()
        if self.text[at] in "[{":
            return self._value(number, path, at, column - 1)
        last = at + len(_COMMENT.sub("", self.text[at:end]).rstrip())
        self.slots.append(Slot(path, "key", at, end, self.text[at:last], at, last))
        return number + 1

    def _value(self, number: int, path: JsonPath, at: int, indent: int) -> int:
        """Read what stands behind a colon or a dash at `at`."""
        end = self.lines.bounds(number)[1]
        rest = self.text[at:end]
        first = at + len(rest) - len(rest.lstrip())
        head = self.text[first : first + 1]
        if head in ("|", ">") and re.fullmatch(r"[|>][-+0-9]*\s*(#.*)?", self.text[first:end]):
            return self._block(number, path, at, indent)
        if head and head in "[{":
            limit = self._limit(number, indent)
            last = _Flow(self, limit).value(first, path, 0)
            self.slots.append(Slot(path, "value", at, last, "", first, last))
            return max(self.lines.line_of(max(last - 1, first)) + 1, number + 1)
        last_line = self._continued(number, indent) if rest.strip() else number
        stop = self.lines.bounds(last_line)[1]
        self._scalar(path, at, stop, flow=False)
        return last_line + 1

    def _scalar(self, path: JsonPath, at: int, stop: int, *, flow: bool) -> None:
        whole = self.text[at:stop]
        quoted = whole.lstrip()[:1] in ("'", '"')
        body = whole if quoted else _COMMENT.sub("", whole)
        text = body.strip()
        first = at + (len(body) - len(body.lstrip()) if text else len(whole))
        plain = " ".join(text.split()) if "\n" in text else text
        plain = plain[1:-1] if quoted and len(plain) > 1 and plain[-1] == plain[0] else plain.lstrip("'\"")
        self.slots.append(Slot(path, "value", at, stop, plain, first, first + len(text), flow))

    def _continued(self, number: int, indent: int) -> int:
        """Return the last line of a plain or quoted text that goes on over lines."""
        last = number
        for following in range(number + 1, len(self.lines)):
            line = self.lines.line(following)
            body = line.strip()
            deep = len(line) - len(line.lstrip()) > indent
            if not body or not deep or body.startswith(("- ", "#")) or _KEY.match(body):
                break
            last = following
        return last

    def _block(self, number: int, path: JsonPath, at: int, indent: int) -> int:
        last = number
        following = number + 1
        while following < len(self.lines):
            line = self.lines.line(following)
            if line.strip():
                if len(line) - len(line.lstrip()) <= indent:
                    break
                last = following
            following += 1
        stop = self.lines.bounds(last)[1]
        self.slots.append(Slot(path, "value", at, stop, self.text[at:stop], at, stop, block=True))
        return last + 1

    def _limit(self, number: int, indent: int) -> int:
        """Return where brackets that begin on a line end at the latest: at the next line that is not deeper."""
        for following in range(number + 1, len(self.lines)):
            line = self.lines.line(following)
            body = line.strip()
            if body and body[0] not in "]}#" and len(line) - len(line.lstrip()) <= indent:
                return self.lines.bounds(following - 1)[1]
        return len(self.text)


def closed(stack: tuple[Frame, ...], column: int) -> tuple[Frame, ...]:
    """Return what stays open when a key begins in a column."""
    while stack and stack[-1].indent >= column:
        stack = stack[:-1]
    return stack


class _Flow:
    """Reads what stands in brackets."""

    def __init__(self, reader: _Reader, limit: int) -> None:
        self._slots = reader.slots
        self._scalar = reader._scalar  # noqa: SLF001 - two halves of one reading
        self._text, self._limit = reader.text, limit

    def value(self, at: int, path: JsonPath, depth: int) -> int:
        """Read a value at its first character; return where it ends."""
        head = self._text[at : at + 1]
        if head == "{" and depth < _DEPTH:
            return self._mapping(at + 1, path, depth + 1)
        if head == "[" and depth < _DEPTH:
            return self._list(at + 1, path, depth + 1)
        return self._token(at)

    def _mapping(self, at: int, path: JsonPath, depth: int) -> int:
        while at <= self._limit:
            start, first = at, self._blank(at)
            last = self._token(first)
            key = self._text[first:last].rstrip()
            end = max(self._blank(last), last)
            name = key.strip("'\"")
            self._slots.append(Slot(path, "key", start, end, name, min(first, end), first + len(key), flow=True))
            at = end
            if self._text[at : at + 1] == ":":
                at = self._item(at + 1, (*path, name), depth)
            done, at = self._separator(at, "}")
            if done:
                break
        return min(at, self._limit)

    def _list(self, at: int, path: JsonPath, depth: int) -> int:
        index = 0
        while at <= self._limit:
            at = self._item(at, (*path, index), depth)
            done, at = self._separator(at, "]")
            index += 1
            if done:
                break
        return min(at, self._limit)

    def _item(self, at: int, path: JsonPath, depth: int) -> int:
        """Read the value whose place begins at `at`; return where the place ends."""
        first = self._blank(at)
        last = self.value(first, path, depth)
        if self._text[first : first + 1] in ("{", "["):
            self._slots.append(Slot(path, "value", at, last, "", first, last, flow=True))
            return self._blank(last)
        end = max(self._blank(last), last)
        self._scalar(path, at, end, flow=True)
        return end

    def _separator(self, at: int, closing: str) -> tuple[bool, int]:
        """Step over what ends an item; return whether the brackets are closed, and where to go on."""
        head = self._text[at : at + 1] if at < self._limit else ""
        if head == closing or not head:
            return True, min(at + 1, self._limit)
        return False, at + 1

    def _blank(self, at: int) -> int:
        while at < self._limit:
            if self._text[at] == "#" and (at == 0 or self._text[at - 1].isspace()):
                stop = self._text.find("\n", at, self._limit)
                at = stop if stop >= 0 else self._limit
            elif self._text[at].isspace():
                at += 1
            else:
                break
        return at

    def _token(self, at: int) -> int:
        """Return where a key or a plain or quoted text ends."""
        head = self._text[at : at + 1]
        if head and head in "'\"":
            stop = re.compile(r'"(?:[^"\\]|\\.)*"' if head == '"' else r"'(?:[^']|'')*'").match(
                self._text, at, self._limit
            )
            if stop:
                return stop.end()
        match = _FLOW_END.search(self._text, at, self._limit)
        return match.start() if match else self._limit

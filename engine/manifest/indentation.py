"""Indentation of YAML that does not parse: the one way of moving lines that gives a document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.diagnostics import Edit, Span
from engine.manifest.document import Document
from engine.manifest.judging import complaints
from engine.manifest.reader import read_yaml
from engine.manifest.schema import Kind

MAX_TEXT = 64 * 1024
_MAX_READS = 120
_MAX_CHARACTERS = 400_000  # in all readings: about a fifth of a second
_MAX_MOVES = 5
_TAB_WIDTHS = (2, 4, 8, 1)
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def reindented(text: str, file: str, kind: Kind) -> Edit | None:
    """Return the edit that mends the indentation, when every way that gives a sound document gives the same one.

    Only blanks and tabs at the beginnings of lines change. Lines that stand at no level of the lines above are moved
    to each of these levels, with the lines below them that belong to them; tabs become 1, 2, 4 or 8 blanks. A way is
    sound when it parses, the moved lines begin nodes of their own, and the schema has nothing against them.

    Args:
        text: What does not parse.
        file: The path for the edit's span.
        kind: Whose schema tells keys that fit from keys that do not.
    """
    if len(text) > MAX_TEXT:
        return None
    lines = re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)
    search = _Search(lines, file, kind)
    search.tabs()
    if not search.sound:
        search.move(lines, (), _MAX_MOVES)
    ways = list(search.sound.values())
    if len(ways) != 1 or search.exhausted:
        return None
    return _edit(lines, min(ways[0], key=lambda way: sum(a != b for a, b in zip(lines, way, strict=True))), file)


def _edit(old: list[str], new: list[str], file: str) -> Edit:
    changed = [index for index, (before, after) in enumerate(zip(old, new, strict=True)) if before != after]
    first, last = changed[0], changed[-1]
    end = len(old[last].rstrip("\r\n"))
    text = "".join(new[first : last + 1])
    kept = text[: len(text) - (len(old[last]) - end)] if len(old[last]) > end else text
    return Edit(Span(file, first + 1, 1, last + 1, end + 1), kept)


@dataclass(slots=True)
class _Search:
    """Tries ways of indenting; `sound` groups those that are by the data that they give."""

    original: list[str]
    file: str
    kind: Kind
    sound: dict[str, list[list[str]]] = field(default_factory=dict)
    reads: int = 0
    read: int = 0
    _tried: set[str] = field(default_factory=set)

    @property
    def exhausted(self) -> bool:
        """Whether ways were left untried, so that nothing is certain."""
        return self.reads >= _MAX_READS or self.read >= _MAX_CHARACTERS

    def tabs(self) -> None:
        """Try blanks for all tabs that lines begin with."""
        for width in _TAB_WIDTHS:
            lines = [_untabbed(line, width) for line in self.original]
            moved = [
                range(index, index + 1)
                for index, line in enumerate(lines)
                if line != self.original[index] and _says(line)
            ]
            if moved:
                self._read(lines, moved)

    def move(self, lines: list[str], moved: Sequence[range], left: int) -> None:
        """Try each level for the line at which reading stops, or the one above it."""
        stop = self._read(lines, moved)
        if stop is not None:
            self._move_from(stop, lines, moved, left)

    def _move_from(self, stop: int, lines: list[str], moved: Sequence[range], left: int) -> None:
        for fresh, block in _ways(lines, stop):
            if left == 0 or self.exhausted:
                return
            if "".join(fresh) in self._tried:
                continue
            after = self._read(fresh, [*moved, block])
            if after is not None and after > stop:
                self._move_from(after, fresh, [*moved, block], left - 1)

    def _read(self, lines: list[str], moved: Sequence[range]) -> int | None:
        """Return the line at which reading stops; None when it does not, and then keep the way if it is sound."""
        self.reads += 1
        text = "".join(lines)
        self.read += len(text)
        self._tried.add(text)
        stop = _stop(text)
        if stop is not None:
            return stop
        document = read_yaml(text, self.file)
        if document.usable and lines != self.original and self._is_sound(document, moved):
            self.sound.setdefault(json.dumps(document.data), []).append(lines)
        return None

    def _is_sound(self, document: Document, moved: Sequence[range]) -> bool:
        """Whether each block begins a node of its own, and nothing is wrong in the lines that were moved."""
        bad = {item.span.line - 1 for item in document.diagnostics if item.code != "Y004"}
        for path, rule, _ in complaints(document.data, self.kind):
            if (rule != "required" or path) and path not in document.tainted:
                bad.add(document.positions.key(path).line - 1)
        begins, lines = set(_begins(document.text)), document.text.splitlines()
        for block in moved:
            around = range(max(0, block.start - 2), min(len(lines), block.stop + 2))
            joined = any(_is_item(lines[index]) and index not in begins for index in around)
            if joined or block.start not in begins or bad.intersection(block):
                return False
        return True


def _stop(text: str) -> int | None:
    """Return the line at which the composer gives up, None when it does not."""
    if _deep(text):
        return 0
    try:
        yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return mark.line if mark else 0
    return None


def _deep(text: str) -> bool:
    return text.count("[") + text.count("{") + text.count("- ") > 2000 or len(text) > 4 * MAX_TEXT


def _begins(text: str) -> Iterator[int]:
    """Yield the lines at which a key or an item begins."""
    stack = [yaml.compose(text, Loader=_Loader)]
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield from (key.start_mark.line for key, _ in node.value)
            stack += [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            yield from (item.start_mark.line for item in node.value)
            stack += node.value


def _suspects(lines: list[str], stop: int) -> list[int]:
    """The line at which reading stopped and the nearest one above it that says something."""
    stop = min(stop, len(lines) - 1)
    said = [index for index in range(stop + 1) if _says(lines[index])]
    return said[-1:-3:-1]


def _is_item(line: str) -> bool:
    return line.lstrip(" ").startswith("- ")


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _levels(lines: list[str], index: int) -> set[int]:
    """The columns at which a line may begin, given those above it."""
    levels = {0}
    for line in lines[max(0, index - 200) : index]:
        if _says(line):
            indent = _indent(line)
            rest = line[indent:]
            levels.add(indent)
            while rest.startswith("- "):
                step = len(rest) - len(rest[2:].lstrip(" "))
                indent, rest = indent + step, rest[step:]
                levels.add(indent)
    above = [line for line in lines[:index] if _says(line)]
    if above and above[-1].rstrip().endswith(":"):
        levels.add(_indent(above[-1]) + 2)
    return levels


def _blocks(lines: list[str], index: int) -> list[int]:
    """Where the lines end that belong to one: those deeper than it; or those no less deep."""
    if "\t" in lines[index][: len(lines[index]) - len(lines[index].lstrip())]:
        return [index + 1]
    ends = []
    for least in (_indent(lines[index]) + 1, _indent(lines[index])):
        end = index + 1
        while end < len(lines) and (not lines[end].strip() or _indent(lines[end]) >= least):
            end += 1
        while end > index + 1 and not lines[end - 1].strip():
            end -= 1
        ends.append(end)
    return sorted(set(ends))


def _moved(lines: list[str], index: int, end: int, level: int) -> list[str]:
    shift = level - _indent(lines[index])
    fresh = list(lines)
    for number in range(index, end):
        if lines[number].strip():
            body = lines[number].lstrip(" \t") if number == index else lines[number].lstrip(" ")
            indent = level if number == index else max(0, _indent(lines[number]) + shift)
            fresh[number] = " " * indent + body
    return fresh


def _ways(lines: list[str], stop: int) -> Iterator[tuple[list[str], range]]:
    """Yield the lines with each block moved that may be what reading stopped at, and the block."""
    for index in _suspects(lines, stop):
        for level in sorted(_levels(lines, index)):
            for end in _blocks(lines, index):
                fresh = _moved(lines, index, end, level)
                if fresh != lines:
                    yield fresh, range(index, end)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _untabbed(line: str, width: int) -> str:
    body = line.lstrip(" \t")
    return line[: len(line) - len(body)].replace("\t", " " * width) + body if body.strip() else line

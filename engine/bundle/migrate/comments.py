"""Comments of a YAML file: where they stand, and to which key or item each belongs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.manifest import JsonPath

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(slots=True)
class Comments:
    """The comments of one document.

    Attributes:
        above: Whole lines above a key or an item, by its path.
        beside: The comment at the end of its line.
        head: Lines at the top, with an empty line between them and the first key.
        tail: Lines behind the last value.
    """

    above: dict[JsonPath, list[str]] = field(default_factory=dict)
    beside: dict[JsonPath, str] = field(default_factory=dict)
    head: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)


def comments_of(text: str) -> Comments:
    """Return the comments of a YAML text that parses."""
    root = yaml.compose(text, Loader=_Loader)
    found = Comments()
    if root is None:
        return found
    begins: dict[int, JsonPath] = {}
    covered: list[tuple[int, int]] = []
    _walk(root, (), begins, covered, set())
    _collect(text, begins, sorted(covered), found)
    return found


def _walk(
    node: yaml.Node, path: JsonPath, begins: dict[int, JsonPath], covered: list[tuple[int, int]], seen: set[int]
) -> None:
    """Note the first line of each key and item (the outermost one wins) and the stretch of each scalar."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.ScalarNode):
        covered.append((node.start_mark.index, node.end_mark.index))
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, str(key.value))
            begins.setdefault(key.start_mark.line, here)
            covered.append((key.start_mark.index, key.end_mark.index))
            _walk(value, here, begins, covered, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            begins.setdefault(item.start_mark.line, (*path, index))
            _walk(item, (*path, index), begins, covered, seen)


def _collect(text: str, begins: dict[int, JsonPath], covered: list[tuple[int, int]], found: Comments) -> None:
    waiting: list[str] = []
    start = 0
    first = min(begins, default=0)
    for number, line in enumerate(re.split(r"(?<=\n)|(?<=\r)(?!\n)", text)):
        if number in begins and waiting:
            (found.head if number == first else found.above.setdefault(begins[number], [])).extend(waiting)
            waiting = []
        comment = _comment(line, start, covered)
        if comment and line.lstrip().startswith("#"):
            waiting.append(comment)
        elif comment and (owner := _owner(begins, number)) is not None:
            found.beside.setdefault(owner, comment)
        elif not line.strip() and waiting and number < first:
            found.head += waiting
            waiting = []
        start += len(line)
    found.tail = waiting


def _owner(begins: dict[int, JsonPath], number: int) -> JsonPath | None:
    lines = [line for line in begins if line <= number]
    return begins[max(lines)] if lines else None


def _comment(line: str, start: int, covered: list[tuple[int, int]]) -> str | None:
    """Return the comment that a line ends with: a # at its beginning or behind a blank, outside of all scalars."""
    for match in re.finditer(r"(?:(?<=[ \t])|^)#", line):
        at = start + match.start()
        if not any(begin <= at < end for begin, end in covered):
            return line[match.start() :].rstrip()
    return None

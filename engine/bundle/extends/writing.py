"""Writes a manifest as YAML, with the origin of each value at the end of its line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from engine.bundle.extends.resolved import Resolved, has_mapping
from engine.diagnostics import Span, printable
from engine.manifest import JsonPath

WIDEST = 72
"""Columns up to which comments are aligned; longer lines have theirs right behind."""

_LITERAL = re.compile(r"(?![ \n])(?:[^\s\x00-\x1f\x7f-\xa0\u2028\u2029\ufeff]| (?!\n|\Z)|\n)*")


class _Quoted(str):
    """Text that is written on one line, whatever it holds."""

    __slots__ = ()


class _List(list[Any]):
    """A list that is written on one line."""


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's signature
        """Write everything out."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - as above
        """Indent lists below their keys."""
        super().increase_indent(flow, False)


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    style = None
    if isinstance(text, _Quoted) or not text.isprintable():
        style = "|" if not isinstance(text, _Quoted) and "\n" in text and _LITERAL.fullmatch(text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(_Quoted, _text)
_Dumper.add_representer(
    _List, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)
)


def to_yaml(resolved: Resolved, *, origins: bool = False) -> str:
    """Return a manifest as YAML that reads as the same data.

    Args:
        resolved: The manifest.
        origins: Whether each value's line says where it comes from.
    """
    text = yaml.dump(
        _shaped(resolved.data),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=float("inf"),
    )
    return _commented(text, resolved.origins) if origins else text


def _shaped(value: Any, inline: bool = False) -> Any:
    if isinstance(value, dict):
        return {key: _shaped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shaped(item) for item in value] if has_mapping(value) else _List(_shaped(item, True) for item in value)
    return _Quoted(value) if inline and isinstance(value, str) and not value.isprintable() else value


def _commented(text: str, origins: Mapping[JsonPath, Span | str]) -> str:
    lines = text.splitlines() if not re.search("[\x85\u2028\u2029]", text) else text.split("\n")[:-1]
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    comments = {node.start_mark.line: _words(origins[path]) for path, node in _leaves(root, ()) if path in origins}
    widths = [len(lines[number]) for number in comments]
    column = max((width for width in widths if width <= WIDEST), default=0)
    for number, words in comments.items():
        lines[number] = f"{lines[number]:{column}}  # {words}"
    return "\n".join(lines) + "\n"


def _words(origin: Span | str) -> str:
    return origin if isinstance(origin, str) else printable(f"{origin.file}:{origin.line}")


def _leaves(node: yaml.Node | None, path: JsonPath) -> Iterator[tuple[JsonPath, yaml.Node]]:
    if isinstance(node, yaml.MappingNode) and node.value:
        for key, value in node.value:
            yield from _leaves(value, (*path, str(key.value)))
    elif isinstance(node, yaml.SequenceNode) and not node.flow_style:
        for index, value in enumerate(node.value):
            yield from _leaves(value, (*path, index))
    elif node is not None:
        yield path, node

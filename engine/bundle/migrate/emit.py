"""Writes a manifest as YAML that every reader takes in the same way, comments included."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from engine.bundle.migrate.comments import Comments
from engine.manifest import JsonPath

_WIDTH = 100
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FIRST = re.compile(r"[^\W\d]|[0-9./(]")
_NOT_FLAT = re.compile(r"[,\[\]{}:?*&!|>%@`#]")
_LIKE_A_NUMBER = re.compile(r"[-+]?(0o|\.|[0-9])[0-9_.eExXa-fA-F:+-]*|[yYnN]")


def emit(data: Mapping[str, Any], comments: Comments) -> str:
    """Return the YAML of plain JSON data; top-level keys in their order, an empty line between the larger ones.

    Args:
        data: Mappings with text keys, lists, texts, numbers, booleans and None.
        comments: The comments by the paths in `data`.
    """
    lines = list(comments.head)
    if lines:
        lines.append("")
    previous_large = False
    for key, value in data.items():
        block = _entry(f"{scalar(key)}:", value, (key,), 0, comments)
        large = len(block) > 1
        if lines and lines[-1] != "" and (large or previous_large):
            lines.append("")
        previous_large = large
        lines += block
    if comments.tail:
        lines += ["", *comments.tail]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def scalar(value: Any) -> str:
    """Return a scalar as YAML: plain only where YAML 1.1 and 1.2 agree that it is this very value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return re.sub(r"^(-?\d+)e", r"\1.0e", json.dumps(value))  # YAML 1.1 wants a dot in every float
    text = str(value)
    if _FIRST.match(text) and text.isprintable() and _is_text(text):
        return text
    if text.isprintable() and "'" not in text and ("\\" in text or '"' in text):
        return f"'{text}'"
    return _quoted(text)


def _quoted(text: str) -> str:
    """Return a text in double quotes, with the escapes of YAML for what is not printable."""
    return '"' + "".join(_ESCAPES.get(char) or (char if char.isprintable() else _escape(char)) for char in text) + '"'


def _escape(char: str) -> str:
    number = ord(char)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _is_text(text: str) -> bool:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
    except yaml.YAMLError:
        return False
    finally:
        loader.dispose()
    return (
        isinstance(node, yaml.ScalarNode)
        and node.tag == "tag:yaml.org,2002:str"
        and node.value == text
        and not _LIKE_A_NUMBER.fullmatch(text)
    )


def _entry(start: str, value: Any, path: JsonPath, indent: int, comments: Comments) -> list[str]:
    """Return the lines of `key: value` or `- value`, with the comments above it and beside it."""
    pad = " " * indent
    beside = f"  {comments.beside[path]}" if path in comments.beside else ""
    lines = [pad + text for text in comments.above.get(path, ())]
    flow = _flow(value, path, comments)
    if flow is not None and (indent + len(start) + len(flow) < _WIDTH or not isinstance(value, (dict, list))):
        return [*lines, f"{pad}{start} {flow}{beside}"]
    inner = _children(value, path, indent + 2, comments)
    if start == "-" and not beside and isinstance(value, dict) and not inner[0].lstrip().startswith("#"):
        return [*lines, f"{pad}- {inner[0][indent + 2 :]}", *inner[1:]]
    return [*lines, f"{pad}{start}{beside}", *inner]


def _children(value: Any, path: JsonPath, indent: int, comments: Comments) -> list[str]:
    lines: list[str] = []
    if isinstance(value, dict):
        for key, item in value.items():
            lines += _entry(f"{scalar(key)}:", item, (*path, key), indent, comments)
    else:
        for index, item in enumerate(value):
            lines += _entry("-", item, (*path, index), indent, comments)
    return lines


def _flow(value: Any, path: JsonPath, comments: Comments) -> str | None:
    """Return the value on one line; None for what reads better on several, or has comments inside."""
    if isinstance(value, (dict, list)) and value:
        inside = [known for known in (*comments.above, *comments.beside) if known[: len(path)] == path]
        if any(len(known) > len(path) for known in inside):
            return None
        if isinstance(value, dict) and (len(path) < 2 or any(isinstance(item, dict) for item in value.values())):
            return None
        if isinstance(value, list) and any(isinstance(item, dict) for item in value):
            return None
        if path in (("tools",), ("context",)):
            return None
    return _on_one_line(value)


def _on_one_line(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow_scalar(key)}: {_on_one_line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(_on_one_line, value)) + "]"
    return _flow_scalar(value)


def _flow_scalar(value: Any) -> str:
    text = scalar(value)
    if text == value and _NOT_FLAT.search(text):
        return _quoted(text)
    return text

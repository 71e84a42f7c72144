"""Reads YAML once, with positions, into plain JSON data; whatever is not plain is a finding."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from engine.diagnostics import Diagnostic, Edit, Span
from engine.manifest.document import Document, JsonPath, Positions
from engine.manifest.scalars import Surprise, read_scalar

MAX_BYTES = 256 * 1024
MAX_DEPTH = 64
MAX_NODES = 20_000

# libyaml composes nodes recursively in C: far more openers than this would overflow the stack of a thread.
_SAFE_OPENERS = 400
_UNPRINTABLE = re.compile("[^\\x09\\x0a\\x0d\\x20-\\x7e\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def decode(content: bytes, file: str, limit: int = MAX_BYTES) -> tuple[str | None, list[Diagnostic]]:
    """Decode a file as UTF-8 (with or without a byte order mark).

    Returns:
        The text, and no finding; or None and one finding (too large, not UTF-8, a NUL byte).
    """
    if len(content) > limit:
        message = f"the file has {len(content)} bytes, more than the {limit} that the engine reads"
        return None, [Diagnostic("L007", message, Span(file), "split it, or leave out what it does not need")]
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        span = _span_at(content[: error.start].decode("utf-8", "replace"), file)
        return None, [
            Diagnostic("L006", f"byte 0x{content[error.start]:02x} is not UTF-8", span, "save the file as UTF-8")
        ]
    if "\0" in text:
        span = _span_at(text[: text.index("\0")], file)
        return None, [
            Diagnostic("L006", "the file holds a NUL byte, so it is not text", span, "save the file as UTF-8 text")
        ]
    return text, []


def read_yaml(text: str, file: str) -> Document:
    """Read one YAML document; never raises for bad input.

    Args:
        text: The source.
        file: The path for the findings, as the user would type it.
    """
    problem = _refuse(text, file)
    if problem is not None:
        return Document(file, text, {}, Positions(file), (problem,))
    try:
        root = _Loader(text).get_single_node()
    except yaml.YAMLError as error:
        return Document(file, text, {}, Positions(file), (_syntax(error, file),))
    if not isinstance(root, yaml.MappingNode):
        span = Span(file, root.start_mark.line + 1, root.start_mark.column + 1) if root else Span(file)
        what = "empty" if root is None else "a list" if isinstance(root, yaml.SequenceNode) else "a single value"
        finding = Diagnostic("Y005", f"the document is {what}, not a mapping", span, "write 'key: value' lines")
        return Document(file, text, {}, Positions(file), (finding,))
    builder = _Builder(file)
    data = builder.build(root)
    if builder.exploded:
        return Document(file, text, {}, Positions(file), tuple(builder.findings))
    odd_keys = frozenset(builder.odd_keys)
    tainted = frozenset(builder.tainted) | odd_keys
    return Document(file, text, data, Positions(file, root), tuple(builder.findings), tainted, odd_keys)


class _TooMany(Exception):  # noqa: N818 - leaves the walk, never the module
    """The document expands to more than the engine accepts."""


class _Builder:
    """One walk over the node tree: data, findings and tainted paths."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.findings: list[Diagnostic] = []
        self.tainted: set[JsonPath] = set()
        self.odd_keys: set[JsonPath] = set()
        self.exploded = False
        self._count = 0
        self._open: set[int] = set()

    def build(self, root: yaml.MappingNode) -> dict[str, Any]:
        """Return the data; empty when the document expands too far."""
        try:
            return self._mapping(root, ())
        except _TooMany:
            self.exploded = True
            return {}

    def _node(self, node: yaml.Node, path: JsonPath) -> Any:
        self._count += 1
        if self._count > MAX_NODES:
            self._bomb(node, f"the document expands to more than {MAX_NODES} values")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            self._bomb(node, "an alias contains itself")
        if len(path) > MAX_DEPTH:
            self._bomb(node, f"the document is nested deeper than {MAX_DEPTH} levels")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        self._open.add(id(node))
        items = [self._node(item, (*path, index)) for index, item in enumerate(node.value)]
        self._open.discard(id(node))
        return items

    def _mapping(self, node: yaml.MappingNode, path: JsonPath) -> dict[str, Any]:
        self._open.add(id(node))
        data: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in data:
                message = f"the key '{key}' is already given in line {lines[key]}"
                self._report("Y002", message, key_node, "remove one of the two")
                continue
            lines[key] = key_node.start_mark.line + 1
            data[key] = self._node(value_node, (*path, key))
        self._open.discard(id(node))
        return data

    def _key(self, node: yaml.Node, path: JsonPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            kind = "list" if isinstance(node, yaml.SequenceNode) else "mapping"
            self._report("Y006", f"a {kind} is used as a key", node, "keys are text")
            return None
        if node.style or node.tag == "tag:yaml.org,2002:str":
            return str(node.value)
        value = read_scalar(node.tag, node.value)
        if isinstance(value, Surprise):
            self._surprise(value, node, "the key")
            if value.code == "Y007":
                return None
        elif not isinstance(value, str):
            self._report("Y006", f"the key {node.value or '(empty)'} is not text", node, "quote it")
        self.odd_keys.add((*path, node.value))
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode, path: JsonPath) -> Any:
        if node.style or node.tag == "tag:yaml.org,2002:str":
            return node.value
        value = read_scalar(node.tag, node.value)
        if isinstance(value, Surprise):
            self.tainted.add(path)
            self._surprise(value, node, dotted(path))
            return node.value
        return value

    def _surprise(self, surprise: Surprise, node: yaml.Node, where: str) -> None:
        span = _node_span(node, self.file)
        fix = Edit(span, surprise.replacement) if surprise.replacement else None
        self.findings.append(Diagnostic(surprise.code, f"{where}: {surprise.message}", span, surprise.help, fix))

    def _report(self, code: str, message: str, node: yaml.Node, help_text: str) -> None:
        self.findings.append(Diagnostic(code, message, _node_span(node, self.file), help_text))

    def _bomb(self, node: yaml.Node, message: str) -> None:
        self._report("Y003", message, node, "write less, and use fewer aliases")
        raise _TooMany


def _refuse(text: str, file: str) -> Diagnostic | None:
    """Find what must not reach the composer: unprintable characters, nesting that is too deep, explicit tags."""
    bad = _UNPRINTABLE.search(text)
    if bad:
        span = _span_at(text[: bad.start()], file)
        return Diagnostic("L006", f"the character U+{ord(bad.group()):04X} is not allowed in YAML", span, "remove it")
    if "!" in text or _openers(text) > _SAFE_OPENERS:
        try:
            return next(_event_findings(text, file), None)
        except yaml.YAMLError as error:
            return _syntax(error, file)
    return None


def _openers(text: str) -> int:
    """Return an upper bound of the nesting: flow openers, and twice what the widest line can open."""
    flow = text.count("[") + text.count("{")
    compact = max((line.count("- ") + line.count("? ") for line in text.splitlines()), default=0)
    indent = max((len(line) - len(line.lstrip(" ")) for line in text.splitlines() if line.strip()), default=0)
    return flow + 2 * (compact + indent)


def _event_findings(text: str, file: str) -> Iterator[Diagnostic]:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        mark = event.start_mark
        span = Span(file, mark.line + 1, mark.column + 1) if mark else Span(file)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                message = f"the document is nested deeper than {MAX_DEPTH} levels"
                yield Diagnostic("Y003", message, span, "write less deeply nested lists and mappings")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        tag = getattr(event, "tag", None)
        if tag:
            yield Diagnostic("Y007", f"the tag '{tag}' is not part of the format", span, "leave the tag out")


def _syntax(error: yaml.YAMLError, file: str) -> Diagnostic:
    mark = getattr(error, "problem_mark", None)
    span = Span(file, mark.line + 1, mark.column + 1) if mark else Span(file)
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read")
    if problem == "but found another document":
        return Diagnostic("Y007", "the file holds more than one YAML document", span, "keep one; remove the '---' line")
    if problem == "second occurrence":
        problem = "an anchor of this name exists already"
    context = getattr(error, "context", None)
    context = f" {context}" if context and context.startswith("while") else ""
    return Diagnostic(
        "Y001", f"not valid YAML{context}: {problem}", span, "check indentation, quotes, brackets and colons"
    )


def _node_span(node: yaml.Node, file: str) -> Span:
    start, end = node.start_mark, node.end_mark
    if end.line != start.line:
        return Span(file, start.line + 1, start.column + 1)
    return Span(file, start.line + 1, start.column + 1, end.line + 1, end.column + 1)


def _span_at(before: str, file: str) -> Span:
    lines = re.split(r"\r\n|\n|\r", before)
    return Span(file, len(lines), len(lines[-1]) + 1)


def dotted(path: JsonPath) -> str:
    """Return a path as people write it: `tools[0].path`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    return text or "the document"

"""Layout: is there one manifest, and is every file that it names there, inside the bundle and readable."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Any

from engine.bundle.draft import Draft
from engine.bundle.source import MANIFESTS
from engine.diagnostics import Diagnostic, Edit, Span, did_you_mean
from engine.manifest import JsonPath, read_yaml, split_items, with_repairs

_PEFT = "adapter_config.json"
_FILE, _EITHER, _GLOB = "file", "file or folder", "glob"


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings; fills in the draft's document."""
    source = draft.source
    findings = list(source.findings)
    name = source.manifest
    if name is None:
        if not findings:
            findings.append(Diagnostic("L001", "the bundle has no bundle.yaml", Span(source.shown), "add one"))
        return findings
    if all(manifest in source.files for manifest in MANIFESTS):
        message = "the bundle has both bundle.yaml and bundle.yml"
        findings.append(Diagnostic("L002", message, Span(source.show("bundle.yml")), "remove one of the two"))
    draft.document = source.document
    if draft.document is None:
        text, problems = source.text(name)
        findings += problems
        draft.document = with_repairs(read_yaml(text, source.show(name)), "bundle") if text is not None else None
    if draft.document is not None:
        findings += draft.document.diagnostics
        # What is missing here may be a file of the bundle that this one should have been built on.
        for path, value, kind in named_files(draft.document.data) if not source.broken else ():
            findings += _check(draft, path, value, kind)
    return findings


def named_files(data: Any) -> Iterator[tuple[JsonPath, str, str]]:
    """Yield every path that a manifest names, as far as its shape allows: place, path, what it must be."""
    for path, kind in _PLACES:
        yield from _at(data, path, (), kind)


_PLACES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("adapters", "*", "path"), _EITHER),
    (("adapters", "*", "gguf"), _FILE),
    (("grammar", "file"), _FILE),
    (("prompts", "system"), _FILE),
    (("prompts", "user"), _FILE),
    (("nodes", "query"), _FILE),
    (("context", "*", "path"), _FILE),
    (("tools", "*"), _FILE),
    (("tools", "*", "path"), _FILE),
    (("tests",), _GLOB),
)


def _at(data: Any, rest: tuple[str, ...], path: JsonPath, kind: str) -> Iterator[tuple[JsonPath, str, str]]:
    if not rest:
        if isinstance(data, str) and data:
            yield path, data, kind
    elif rest[0] == "*":
        items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for step, item in items:
            yield from _at(item, rest[1:], (*path, step), kind)
    elif isinstance(data, dict) and rest[0] in data:
        yield from _at(data[rest[0]], rest[1:], (*path, rest[0]), kind)


def _check(draft: Draft, path: JsonPath, value: str, kind: str) -> Iterator[Diagnostic]:
    assert draft.document is not None  # noqa: S101
    if path in draft.document.tainted:
        return
    span = draft.value(*path)
    escape = escapes(value)
    if escape:
        yield Diagnostic("L004", f"the path '{value}' {escape}", span, "name a file of the bundle, relative to it")
        return
    name, source = posixpath.normpath(value), draft.source
    if kind == _GLOB or name in source.outside or any(name.startswith(f"{link}/") for link in source.outside):
        return  # a symlink that leaves the bundle has its finding already
    if name in source.files:
        if kind == _FILE and path[0] != "adapters":
            yield from _readable(draft, name)
    elif name in source.folders and kind == _FILE:
        yield Diagnostic("L005", f"'{value}' is a folder, and a file is needed", span, "name a file in it")
    elif name in source.folders and f"{name}/{_PEFT}" not in source.files:
        message = f"the adapter folder '{value}' has no {_PEFT}"
        yield Diagnostic("L003", message, span, "name the folder that PEFT wrote")
    elif name not in source.folders:
        hint = did_you_mean(name, source.files)
        message = f"the file '{value}' does not exist in the bundle" + (f": {hint}" if hint else "")
        yield Diagnostic("L003", message, span, "add the file, or mend the path", _split(draft, path))


def _split(draft: Draft, path: JsonPath) -> Edit | None:
    """The repair of a list whose items are indented so that they are read as one path."""
    found = split_items(draft.document, path) if draft.document is not None else None
    files = draft.source.files
    return found[0] if found and all(posixpath.normpath(item) in files for item in found[1]) else None


def _readable(draft: Draft, name: str) -> list[Diagnostic]:
    return draft.source.text(name)[1]


def escapes(value: str) -> str:
    """Say why a path of a manifest may leave the bundle; empty when it does not."""
    if value.startswith(("/", "\\", "~")) or value[1:2] == ":":
        return "is absolute"
    if "\\" in value:
        return "uses \\ instead of /"
    if "\0" in value:
        return "holds a NUL byte"
    normal = posixpath.normpath(value)
    return "leaves the bundle" if normal == ".." or normal.startswith("../") else ""

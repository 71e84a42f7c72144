"""Repairs that are certain: for a finding the one edit after which the schema has strictly less to say.

An edit is tried on the data first. It becomes a finding's `fix` only when everything that the schema then has against
the document was there before, and the finding itself is gone; so no repair turns one finding into another. Nothing is
repaired in documents with aliases (an edit would act in several places) or of an earlier format. In a manifest that
inherits, only what its own file has is repaired.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from engine.diagnostics import Edit, Span
from engine.manifest.document import Document, JsonPath
from engine.manifest.findings import SchemaError, SchemaFinding, leaves
from engine.manifest.judging import complaints
from engine.manifest.near import meant
from engine.manifest.older import older_shape, renamed
from engine.manifest.outdented import indented_below
from engine.manifest.schema import Kind

MAX_TRIALS = 60

ODD_BREAKS = re.compile("[\x85\u2028\u2029]")
_PLAIN_NUMBER = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$")
_NOT_ONE_WORD = re.compile(r"[\s,\[\]{}#&*!|>%@`]")


@dataclass(frozen=True, slots=True)
class Repair:
    """An edit, and what would be read after it.

    Attributes:
        edit: The edit.
        data: The data after it.
        place: The path whose value it is about; the new one for a renamed key.
        wants: The path that a renamed key gets; empty for other repairs.
        unsettled: Whether the value has a finding of its own, which is repaired next.
    """

    edit: Edit
    data: Any
    place: JsonPath
    wants: JsonPath = ()
    unsettled: bool = False


def repairable(document: Document) -> bool:
    """Whether edits of the document may be certain at all."""
    if ODD_BREAKS.search(document.text) or older_shape(document.data):
        return False
    if "&" not in document.text:
        return True
    events = yaml.parse(document.text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return not any(isinstance(event, yaml.AliasEvent) for event in events)
    except yaml.YAMLError:
        return False  # a table of a TOML file


def with_fixes(
    document: Document, found: Sequence[SchemaFinding], errors: Sequence[SchemaError], kind: Kind
) -> list[SchemaFinding]:
    """Return the schema's findings, those with a certain repair with their `fix`."""
    if not found or not repairable(document):
        return list(found)
    known = {(tuple(error.absolute_path), str(error.validator)): error for error in leaves(errors)}
    trial = _Trial(document, kind)
    repairs = [trial.first(_candidates(_Case(document, item, known))) for item in found]
    wanted = Counter(item.wants for item in repairs if item and item.wants)
    return [_with_fix(item, repair, wanted) for item, repair in zip(found, repairs, strict=True)]


def _with_fix(item: SchemaFinding, repair: Repair | None, wanted: Mapping[JsonPath, int]) -> SchemaFinding:
    """Return the finding with its fix, unless two keys want the same name, or one wants the one that is missing."""
    if repair is None or wanted.get(repair.wants, 0) > 1 or (not repair.wants and item.path in wanted):
        return item
    return SchemaFinding(replace(item.diagnostic, fix=repair.edit), item.path)


class _Trial:
    """Judges repairs against what the schema has against the document now."""

    def __init__(self, document: Document, kind: Kind) -> None:
        self._kind = kind
        self._before = complaints(document.data, kind)
        self._left = MAX_TRIALS

    def first(self, candidates: Iterator[Repair]) -> Repair | None:
        """Return the only repair that makes the document better; None when there is none, or more than one."""
        good: list[Repair] = []
        for candidate in candidates:
            if self._left <= 0:
                return None
            self._left -= 1
            after = complaints(candidate.data, self._kind)
            if candidate.unsettled:
                after = frozenset(bad for bad in after if bad[0] != candidate.place)
            if after < self._before and not any(bad[0][: len(candidate.place)] == candidate.place for bad in after):
                good.append(candidate)
        return good[0] if len(good) == 1 else None


@dataclass(frozen=True, slots=True)
class _Case:
    """One finding, and the schema's errors by place and rule."""

    document: Document
    item: SchemaFinding
    errors: Mapping[tuple[JsonPath, str], SchemaError]

    @property
    def path(self) -> JsonPath:
        return self.item.path

    @property
    def value(self) -> Any:
        return at(self.document.data, self.path)


def _candidates(case: _Case) -> Iterator[Repair]:
    handler = _HANDLERS.get(case.item.diagnostic.code)
    if handler is not None:
        yield from handler(case)


def _rename(case: _Case) -> Iterator[Repair]:
    """The key's name in this format, or the one known key that is meant."""
    parent, key = at(case.document.data, case.path[:-1]), case.path[-1]
    span, error = _key_span(case.document, case.path), case.errors.get((case.path[:-1], "additionalProperties"))
    if not isinstance(parent, dict) or span is None or error is None:
        return
    target = renamed(case.path) or meant(str(key), error.schema.get("properties", {}))
    if target is None or target in parent:
        return

    def change(data: Any) -> None:
        here = at(data, case.path[:-1])
        entries = [(target if name == key else name, value) for name, value in here.items()]
        here.clear()
        here.update(entries)

    place, unsettled = (*case.path[:-1], target), case.path in case.document.tainted
    yield Repair(Edit(span, target), _changed(case.document, change), place, place, unsettled)


def _retype(case: _Case) -> Iterator[Repair]:
    """Text for a number, a number for text that is one, a list of one for what stands alone."""
    value, raw = case.value, scalar_at(case.document, case.path)
    if value is None:
        yield from _indent(case)
    if raw is None:
        return
    span, text = raw
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield Repair(Edit(span, f'"{text}"'), replaced(case.document, case.path, text), case.path)
    elif isinstance(value, str) and text[:1] in ("'", '"'):
        plain = _plain_value(value)
        if plain is not None:
            yield Repair(Edit(span, value), replaced(case.document, case.path, plain), case.path)
    elif isinstance(value, str) and text == value and not _NOT_ONE_WORD.search(value):
        yield Repair(Edit(span, f"[{text}]"), replaced(case.document, case.path, [value]), case.path)


def _indent(case: _Case) -> Iterator[Repair]:
    """The keys behind an empty one below it, where they do not exist beside it."""
    error = case.errors.get((case.path[:-1], "additionalProperties"))
    parent = at(case.document.data, case.path[:-1])
    if error is not None and isinstance(parent, dict) and case.path in case.document.positions:
        strangers = {key for key in parent if key not in error.schema.get("properties", {})}
        found = indented_below(case.document, case.path, strangers)
        if found is not None:
            yield Repair(found[0], found[1], case.path)


def _plain_value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if not _PLAIN_NUMBER.match(text) or len(text) > 30:
        return None
    return int(text) if re.match(r"[-+]?[0-9]+$", text) else float(text)


def _choice(case: _Case) -> Iterator[Repair]:
    """The one allowed word that is meant."""
    value, raw, error = case.value, scalar_at(case.document, case.path), case.errors.get((case.path, "enum"))
    if not isinstance(value, str) or raw is None or error is None:
        return
    target = meant(value, [choice for choice in error.validator_value if isinstance(choice, str)])
    if target is not None:
        yield Repair(Edit(raw[0], target), replaced(case.document, case.path, target), case.path)


def _format(case: _Case) -> Iterator[Repair]:
    """The number 1 for a format 1 written in another way."""
    raw = scalar_at(case.document, case.path)
    if raw is not None and case.value in ("1", "1.0", 1.0) and case.value is not True:
        yield Repair(Edit(raw[0], "1"), replaced(case.document, case.path, 1), case.path)


def _missing_format(case: _Case) -> Iterator[Repair]:
    """The line `format: 1` above the first key."""
    document = case.document
    spans = [span for key in document.data if (span := _key_span(document, (key,))) is not None]
    if case.path != ("format",) or not spans or min(spans).column != 1:
        return
    line = min(spans).line
    end = re.search(r"\r\n|\n|\r", document.text)
    edit = Edit(Span(document.file, line, 1, line, 1), "format: 1" + (end.group() if end else "\n"))
    yield Repair(edit, {"format": 1, **document.data}, case.path)


def at(data: Any, path: JsonPath) -> Any:
    """Return the value at the path, None where there is none."""
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _changed(document: Document, change: Callable[[Any], None]) -> Any:
    data = copy.deepcopy(dict(document.data))
    change(data)
    return data


def replaced(document: Document, path: JsonPath, value: Any) -> Any:
    """Return a copy of the document's data with another value at the path."""

    def change(data: Any) -> None:
        at(data, path[:-1])[path[-1]] = value

    return _changed(document, change)


def _key_span(document: Document, path: JsonPath) -> Span | None:
    """Return where the key stands; None where the path does not exist in this very file."""
    if path not in document.positions:
        return None
    span = document.positions[path].key
    return span if span is not None and span.file == document.file and span.end_line == span.line else None


def scalar_at(document: Document, path: JsonPath) -> tuple[Span, str] | None:
    """Return where a value on one line stands in this very file, and its text as written."""
    if not path or path not in document.positions:
        return None
    span = document.positions[path].value
    lines = re.split(r"\r\n|\n|\r", document.text)
    if span.file != document.file or span.end_line != span.line or span.end_column <= span.column:
        return None
    text = lines[span.line - 1][span.column - 1 : span.end_column - 1]
    return (span, text) if text[:1] not in "[{|>" else None


_HANDLERS: dict[str, Callable[[_Case], Iterator[Repair]]] = {
    "S001": _rename,
    "S002": _retype,
    "S003": _missing_format,
    "S004": _choice,
    "S007": _format,
}

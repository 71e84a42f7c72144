"""From a document to its typed model; what is broken is cut out, so that later passes see the rest."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

from pydantic import ValidationError

from engine.diagnostics import Diagnostic
from engine.manifest.bundle_model import Manifest, Model
from engine.manifest.case_model import CaseFile
from engine.manifest.document import Document, JsonPath
from engine.manifest.engine_model import EngineConfig
from engine.manifest.findings import SchemaFinding, schema_findings
from engine.manifest.reader import dotted
from engine.manifest.repairs import with_fixes
from engine.manifest.schema import MODELS, Kind, extending_validator, validator

M = TypeVar("M", bound=Model)

_MISSING = object()
# Stands in for a required part that is broken; `Typed.broken` names it, so no pass looks at it.
_PLACEHOLDERS: Mapping[str, Any] = {
    "format": 1,
    "name": "unnamed",
    "description": "-",
    "model": {"plugin": "unnamed"},
    "prompts": {"user": {"text": ""}},
    "tools": [{"python": "unnamed:unnamed"}],
}


@dataclass(frozen=True, slots=True)
class Typed(Generic[M]):
    """A document's model.

    Attributes:
        model: The model; None when nothing could be made of the document. With findings it holds only the sound parts.
        diagnostics: All findings, those of the reading included.
        broken: Paths that are not in `model` as the author wrote them.
        kept: For the lists at the top level, the author's index of each item that `model` still has.
    """

    model: M | None
    diagnostics: tuple[Diagnostic, ...]
    broken: frozenset[JsonPath] = frozenset()
    kept: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def sound(self, *path: str | int) -> bool:
        """Whether neither the path nor one of its parents is broken."""
        return not any(path[: len(bad)] == bad for bad in self.broken)

    def index(self, key: str, position: int) -> int:
        """Return the author's index of an item of a list at the top level."""
        kept = self.kept.get(key)
        return kept[position] if kept is not None and position < len(kept) else position


def read_manifest(document: Document) -> Typed[Manifest]:
    """Check a `bundle.yaml` and return its model."""
    return cast("Typed[Manifest]", _read(document, "bundle"))


def read_manifest_alone(document: Document) -> Typed[Manifest]:
    """Check a `bundle.yaml` that builds on a bundle which cannot be read; what is sound alone is no manifest yet."""
    if not document.usable:
        return Typed(None, document.diagnostics)
    found = schema_findings(document, list(extending_validator().iter_errors(document.data)))
    return Typed(None, (*document.diagnostics, *(finding.diagnostic for finding in found)))


def read_engine_config(document: Document) -> Typed[EngineConfig]:
    """Check an `engine.yaml` and return its model."""
    typed = cast("Typed[EngineConfig]", _read(document, "engine"))
    if typed.model is None or not typed.model.operations:
        return typed
    from engine.manifest.operations import operation_findings

    found = [item for item in operation_findings(document, typed.model.operations) if typed.sound("operations")]
    return replace(typed, diagnostics=(*typed.diagnostics, *found))


def read_cases(document: Document) -> Typed[CaseFile]:
    """Check a file of cases and return its model."""
    return cast("Typed[CaseFile]", _read(document, "tests"))


def _read(document: Document, kind: Kind) -> Typed[Any]:
    if not document.usable:
        return Typed(None, document.diagnostics)
    model_type = MODELS[kind]
    refused: ValidationError | None = None
    try:
        model = model_type.model_validate_json(json.dumps(document.data))
    except ValidationError as error:
        refused = error
    # The models accept nothing that the schema refuses, so its slower search for findings is for refused documents.
    if refused is None and not document.tainted:
        return Typed(model, document.diagnostics)
    errors = list(validator(kind).iter_errors(document.data))
    found = schema_findings(document, errors)
    found = _own_fixes(document, found, kind) if document.parts else with_fixes(document, found, errors, kind)
    if refused is not None and not found and not document.tainted:
        found = _typed_findings(document, refused)
    findings = tuple(finding.diagnostic for finding in found)
    return _salvage(document, model_type, found, (*document.diagnostics, *findings))


def _own_fixes(document: Document, found: Iterable[SchemaFinding], kind: Kind) -> list[SchemaFinding]:
    """Give findings of a merged document the repairs that are certain in what its author wrote."""
    own = document.written
    errors = list(validator(kind).iter_errors(own.data))
    mended = (item.diagnostic for item in with_fixes(own, schema_findings(own, errors), errors, kind))
    fixes = {(item.code, item.span): item.fix for item in mended}
    return [
        SchemaFinding(replace(item.diagnostic, fix=fixes.get((item.diagnostic.code, item.diagnostic.span))), item.path)
        for item in found
    ]


def _typed_findings(document: Document, error: ValidationError) -> list[SchemaFinding]:
    """Findings that only the model makes: the schema has accepted the document."""
    found = []
    for item in error.errors(include_url=False):
        path = _existing(document, item["loc"])
        message = f"{dotted(document.positions.written(path))}: {item['msg']}"
        found.append(SchemaFinding(Diagnostic("S005", message, document.positions.value(path)), path))
    return found


def _existing(document: Document, location: Iterable[str | int]) -> JsonPath:
    """Drop from a location what names a branch of a union and not a part of the document."""
    path: JsonPath = ()
    for step in location:
        if (*path, step) in document.positions:
            path = (*path, step)
    return path


def _salvage(
    document: Document, model_type: type[Model], found: Iterable[SchemaFinding], diagnostics: tuple[Diagnostic, ...]
) -> Typed[Any]:
    data = copy.deepcopy(dict(document.data))
    unknown = {item.path for item in found if item.diagnostic.code == "S001"}
    broken = ({item.path for item in found} | document.tainted) - unknown
    for path in sorted(broken | unknown, key=len, reverse=True):
        _cut(data, path)
    for _ in range(10):
        try:
            model = model_type.model_validate_json(json.dumps(_compact(data)))
        except ValidationError as error:
            kept = _kept(data)
            locations = {item["loc"][:2] for item in error.errors(include_url=False)}
            locations = {found for found in locations if len(found) < 2 or found[:1] not in locations}
            broken |= {_cut_more(data, kept, location) for location in locations}
        else:
            return Typed(model, diagnostics, frozenset(broken), _kept(data))
    return Typed(None, diagnostics)


def _cut(data: Any, path: JsonPath) -> None:
    """Remove the value at the path; an item of a nested list takes the list with it."""
    for depth, step in enumerate(path):
        last = depth == len(path) - 1
        if isinstance(data, list) and isinstance(step, int) and step < len(data):
            if last:
                data[step] = _MISSING
            data = data[step]
        elif isinstance(data, dict) and isinstance(step, str) and step in data:
            if last or (depth > 0 and isinstance(data[step], list)):
                del data[step]
                return
            data = data[step]
        else:
            return


def _cut_more(data: dict[str, Any], kept: Mapping[str, tuple[int, ...]], location: JsonPath) -> JsonPath:
    """Remove the part that keeps the model from being built; a required part gets its placeholder."""
    top, inner = (str(location[0]) if location else ""), location[1:]
    value = data.get(top)
    if inner and isinstance(value, list) and kept.get(top):
        index = kept[top][int(inner[0])]
        value[index] = _MISSING
        return (top, index)
    if inner and isinstance(value, dict) and str(inner[0]) in value:
        del value[str(inner[0])]
        return (top, str(inner[0]))
    if inner and isinstance(value, dict) and top == "prompts":
        value["user"] = {"text": ""}
        return ("prompts", "user")
    data.pop(top, None)
    if top in _PLACEHOLDERS:
        data[top] = copy.deepcopy(_PLACEHOLDERS[top])
    return (top,)


def _compact(data: dict[str, Any]) -> dict[str, Any]:
    return {
        key: [item for item in value if item is not _MISSING] if isinstance(value, list) else value
        for key, value in data.items()
    }


def _kept(data: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {
        key: tuple(index for index, item in enumerate(value) if item is not _MISSING)
        for key, value in data.items()
        if isinstance(value, list)
    }

"""What a schema has against data, as values that two versions of a document can be compared by."""

from __future__ import annotations

from typing import Any

from engine.manifest.document import JsonPath
from engine.manifest.findings import leaves, matches
from engine.manifest.schema import Kind, validator

Complaint = tuple[JsonPath, str, str]
"""Where, by which rule, and which key or bound of it."""


def complaints(data: Any, kind: Kind) -> frozenset[Complaint]:
    """Return everything that the schema of a kind of document has against the data."""
    return frozenset(item for error in leaves(list(validator(kind).iter_errors(data))) for item in _complaints(error))


def _complaints(error: Any) -> list[Complaint]:
    path, rule = tuple(error.absolute_path), str(error.validator)
    if rule == "additionalProperties":
        known, patterns = error.schema.get("properties", {}), error.schema.get("patternProperties", {})
        unknown = [key for key in error.instance if key not in known and not matches(patterns, key)]
        return [((*path, key), rule, "") for key in unknown]
    if rule == "required":
        return [(path, rule, key) for key in error.validator_value if key not in error.instance]
    return [(path, rule, str(error.validator_value)[:200])]

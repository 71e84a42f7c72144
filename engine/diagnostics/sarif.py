"""The `sarif` format: SARIF 2.1.0 (OASIS standard, https://docs.oasis-open.org/sarif/sarif/v2.1.0/)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.diagnostics.codes import CODES
from engine.diagnostics.core import Diagnostic, Span
from engine.diagnostics.explain import page

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_log(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """Return the log: one run, with a rule for each code that occurs."""
    used = sorted({item.code for item in diagnostics})
    driver = {"name": "engine", "version": _version(), "rules": [_rule(code) for code in used]}
    results = [_result(item, used.index(item.code)) for item in diagnostics]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _version() -> str:
    try:
        return version("bundle-engine")
    except PackageNotFoundError:
        return "0"


def _rule(code: str) -> dict[str, Any]:
    row = CODES[code]
    text = page(code)
    return {
        "id": code,
        "name": "".join(part.capitalize() for part in row.name.split("-")),
        "shortDescription": {"text": row.summary},
        "help": {"text": text, "markdown": text},
        "defaultConfiguration": {"level": row.severity},
    }


def _result(item: Diagnostic, index: int) -> dict[str, Any]:
    text = f"{item.message}\n{item.help}" if item.help else item.message
    result: dict[str, Any] = {
        "ruleId": item.code,
        "ruleIndex": index,
        "level": item.severity,
        "message": {"text": text},
        "locations": [
            {"physicalLocation": {"artifactLocation": _artifact(item.span.file), "region": _region(item.span)}}
        ],
    }
    if item.fix is not None:
        replacement = {"deletedRegion": _region(item.fix.span), "insertedContent": {"text": item.fix.text}}
        change = {"artifactLocation": _artifact(item.fix.span.file), "replacements": [replacement]}
        result["fixes"] = [{"description": {"text": item.help or "Apply the fix."}, "artifactChanges": [change]}]
    return result


def _artifact(file: str) -> dict[str, str]:
    """Absolute paths become file URIs, others relative references."""
    path = Path(file)
    return {"uri": path.as_uri() if path.is_absolute() else quote(path.as_posix())}


def _region(span: Span) -> dict[str, int]:
    return {
        "startLine": span.line,
        "startColumn": span.column,
        "endLine": span.end_line,
        "endColumn": span.end_column,
    }

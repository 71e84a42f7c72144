"""What the operations of engine.yaml say of each other: `after` names operations that come first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.diagnostics import Diagnostic, did_you_mean
from engine.manifest.document import Document
from engine.manifest.engine_model import Operation


def operation_findings(document: Document, operations: Mapping[str, Operation]) -> list[Diagnostic]:
    """Return the findings about `after`: names of no operation, of one that is switched off, and circles."""
    return [*_unknown(document, operations), *_circles(document, operations)]


def _unknown(document: Document, operations: Mapping[str, Operation]) -> Iterator[Diagnostic]:
    for name, operation in operations.items():
        for at, other in enumerate(operation.after):
            span = document.positions.value(("operations", name, "after", at))
            if other not in operations:
                hint = did_you_mean(other, [one for one in operations if one != name])
                words = f"operations.{name}.after: there is no operation '{other}'"
                yield Diagnostic("S004", f"{words}; {hint or 'name one of engine.yaml'}", span)
            elif operation.enabled and not operations[other].enabled:
                words = f"operations.{name}.after: '{other}' is switched off, so nothing of it can come first"
                yield Diagnostic("S006", f"{words}; remove it here, or enable '{other}'", span)


def _circles(document: Document, operations: Mapping[str, Operation]) -> Iterator[Diagnostic]:
    """Report each circle once, where its first operation names the next."""
    reported: set[str] = set()
    for name in operations:
        circle = [] if name in reported else _circle(name, operations)
        if circle:
            reported.update(circle)
            at = operations[name].after.index(circle[1])
            way = " after ".join(f"'{one}'" for one in circle)
            span = document.positions.value(("operations", name, "after", at))
            yield Diagnostic("S006", f"operations.{name}.after: {way}: none of them could ever start", span)


def _circle(start: str, operations: Mapping[str, Operation]) -> list[str]:
    """Return a shortest way along `after` from an operation back to itself, both ends included; empty for none."""
    ways, seen = [[start]], set[str]()
    for way in ways:
        for other in operations[way[-1]].after:
            if other == start:
                return [*way, other]
            if other in operations and other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []

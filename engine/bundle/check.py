"""Runs the passes, in their order, over bundles; collects everything they find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from engine.bundle.cache import FindingsCache
from engine.bundle.draft import Draft
from engine.bundle.passes import cases, grammar, layout, params, permissions, prompts, references, schema, tools
from engine.bundle.source import BundleSource
from engine.diagnostics import Diagnostic

if TYPE_CHECKING:
    from engine.tools import ScriptChecker


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass, and what must be there for it to run: a pass whose input is broken is skipped."""

    name: str
    run: Callable[[Draft], list[Diagnostic]]
    needs: Literal["files", "document", "manifest"]


PASSES: tuple[Pass, ...] = (
    Pass("layout", layout.run, "files"),
    Pass("schema", schema.run, "document"),
    Pass("references", references.run, "manifest"),
    Pass("params", params.run, "manifest"),
    Pass("prompts", prompts.run, "manifest"),
    Pass("tools", tools.run, "manifest"),
    Pass("grammar", grammar.run, "manifest"),
    Pass("permissions", permissions.run, "manifest"),
    Pass("cases", cases.run, "manifest"),
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A bundle after all passes: the draft that they filled, and their findings, sorted."""

    draft: Draft
    diagnostics: tuple[Diagnostic, ...]

    @property
    def valid(self) -> bool:
        """Whether there is no error."""
        return all(item.severity != "error" for item in self.diagnostics)


def check_bundles(
    sources: Sequence[BundleSource],
    *,
    use_cache: bool = True,
    compiled: bool = False,
    checker: ScriptChecker | None = None,
) -> list[Checked]:
    """Check bundles together, so that the type checker sees all their scripts at once.

    Args:
        sources: The bundles' files.
        use_cache: Whether scripts and constraints that were checked before are spared.
        compiled: Whether every constraint is written and, with xgrammar installed, compiled.
        checker: The type checker; by default one for this time.
    """
    drafts = [Draft(source) for source in sources]
    findings = [run_passes(draft) for draft in drafts]
    typed = tools.check_types(drafts, use_cache=use_cache, checker=checker)
    checked = [Checked(*item) for item in zip(drafts, map(_merged, findings, typed), strict=True)]
    if compiled:
        done = compile_constraints(checked, FindingsCache() if use_cache else None)
        checked = [item for item in done if item is not None]
    if not any(source.parents for source in sources):
        return checked
    from engine.bundle.extends import settle

    check = partial(check_bundles, use_cache=use_cache, compiled=compiled, checker=checker)
    return settle(checked, check)


def compile_constraints(
    checked: Sequence[Checked], store: FindingsCache | None, *, known_only: bool = False
) -> list[Checked | None]:
    """Return bundles with what is wrong with their constraints, written and, with xgrammar installed, compiled.

    Args:
        checked: The bundles after their passes.
        store: Spares constraints that were compiled before; None to compile all.
        known_only: Compile none; in place of a bundle whose constraints are not known stands None.
    """
    found = grammar.check_compiled([item.draft for item in checked], store, known_only=known_only)
    return [
        None if more is None else Checked(item.draft, _merged(item.diagnostics, more))
        for item, more in zip(checked, found, strict=True)
    ]


def _merged(*found: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    return sort([item for part in found for item in part])


def run_passes(draft: Draft) -> list[Diagnostic]:
    """Run every pass whose input is there."""
    findings: list[Diagnostic] = []
    for step in PASSES:
        if _ready(draft, step.needs):
            findings += step.run(draft)
    return findings


def _ready(draft: Draft, needs: str) -> bool:
    if needs == "files":
        return True
    if needs == "document":
        return draft.document is not None and draft.document.usable
    return draft.typed is not None and draft.typed.model is not None


def sort(findings: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Return the findings by file and place, each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda item: item.sort_key))

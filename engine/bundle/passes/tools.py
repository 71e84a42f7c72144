"""Tools: every script parses, declares what exists, and passes the sandbox's type checker; nothing is executed."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engine.bundle.draft import Draft, ScriptUse
from engine.bundle.names import as_script, tool_names
from engine.diagnostics import Diagnostic, Span
from engine.files import cache_folder
from engine.manifest import dotted
from engine.manifest.bundle_model import ScriptTool
from engine.messages import ToolSchema

if TYPE_CHECKING:
    from engine.tools import ParsedScript, ScriptChecker

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings; fills in the draft's uses of scripts and its tool schemas."""
    parsed: dict[str, Any] = {}
    findings: list[Diagnostic] = []
    for index, entry in draft.each("tools"):
        findings += _names(draft, index, entry)
        spec = as_script(entry)
        if spec is not None:
            use = ScriptUse(("tools", index), posixpath.normpath(spec.path), spec, None, tool_names(entry)[0])
            findings += _parse(draft, use, parsed)
            findings += _schema(draft, use, spec)
        elif not isinstance(entry, str):
            findings.append(_not_yet(draft, index))
    for index, item in draft.each("context"):
        use = ScriptUse(("context", index), posixpath.normpath(item.path), None, None, item.name)
        findings += _parse(draft, use, parsed)
        findings += _inputs(use)
    return findings


def check_types(
    drafts: Sequence[Draft], *, use_cache: bool, checker: ScriptChecker | None = None
) -> list[list[Diagnostic]]:
    """Type-check the scripts of all bundles in one go; return the findings of each bundle.

    Args:
        drafts: The bundles, after their passes.
        use_cache: Whether scripts that were checked before are spared.
        checker: The checker; by default one for this time.
    """
    from engine.tools import ScriptChecker

    checker = checker or ScriptChecker(cache_folder() if use_cache else None)
    scripts = {use.script.file: use.script for draft in drafts for use in draft.uses if use.script is not None}
    found = checker.check(list(scripts.values())) if scripts else {}
    return [
        [item for file in dict.fromkeys(use.script.file for use in draft.uses if use.script) for item in found[file]]
        for draft in drafts
    ]


def _names(draft: Draft, index: int, entry: Any) -> list[Diagnostic]:
    findings = []
    for name in tool_names(entry):
        if not _NAME.fullmatch(name):
            message = f"'{name}' is not a tool name: letters, digits and _, at most 64"
            help_text = "rename the file, or give the tool a 'name'"
            findings.append(Diagnostic("T012", message, draft.value("tools", index), help_text))
    return findings


def _not_yet(draft: Draft, index: int) -> Diagnostic:
    assert draft.document is not None  # noqa: S101
    name = dotted(draft.document.positions.written(("tools", index)))
    message = f"{name} is not a script: this version of the engine runs .pym tools only"
    return Diagnostic("T013", message, draft.value("tools", index), "write the tool as a .pym script")


def _parse(draft: Draft, use: ScriptUse, parsed: dict[str, Any]) -> list[Diagnostic]:
    """Parse the use's script, each file once, and keep the use."""
    from engine.tools import check_externals

    draft.uses.append(use)
    findings: list[Diagnostic] = []
    if use.file not in parsed:
        text = draft.text(use.file)
        if text is None:
            return []  # layout says why
        result = _parsed(text, draft.source.show(use.file))
        parsed[use.file] = result.script
        findings += result.diagnostics
        findings += check_externals(result.script) if result.script else []
    use.script = parsed[use.file]
    return findings


@lru_cache(maxsize=512)
def _parsed(text: str, file: str) -> ParsedScript:
    """Parse a script; most are as they were when their bundle is checked again."""
    from engine.tools import parse_script

    return parse_script(text, file)


def _schema(draft: Draft, use: ScriptUse, spec: ScriptTool) -> list[Diagnostic]:
    from engine.tools import merge_inputs

    if use.script is None:
        return []

    def where(*path: str | int) -> Span:
        return draft.key(*use.path, *(step for step in path if step != ""))

    parameters, findings = merge_inputs(use.script, spec, where)
    description = spec.description or use.script.description or f"Tool: {use.name}"
    draft.schemas.append(ToolSchema(use.name, description, parameters))
    return findings


def _inputs(use: ScriptUse) -> list[Diagnostic]:
    """Nobody calls a context provider with arguments: each input needs a default, or a name that the engine fills."""
    from engine.tools import SYSTEM_INPUTS

    return [
        Diagnostic(
            "T004",
            f"the input '{item.name}' of the context provider '{use.name}' has no value",
            item.span,
            f"give it a default, or one of the names {', '.join(SYSTEM_INPUTS)}",
        )
        for item in (use.script.inputs if use.script else ())
        if item.required and item.name not in SYSTEM_INPUTS
    ]

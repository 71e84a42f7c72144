"""References: names that must exist elsewhere: adapters, tools, context, plugin, languages, node types."""

from __future__ import annotations

from collections.abc import Iterable

from engine.bundle.draft import Draft
from engine.bundle.names import tool_names
from engine.diagnostics import Diagnostic, Span, did_you_mean
from engine.manifest import LANGUAGES, JsonPath, node_types
from engine.manifest.bundle_model import ScriptTool


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings."""
    return [*_plugin(draft), *_adapters(draft), *_tools(draft), *_context(draft), *_nodes(draft)]


def unknown(code: str, what: str, name: str, known: Iterable[str], span: Span) -> Diagnostic:
    """Make the finding for a name that does not exist."""
    listed = list(known)
    hint = did_you_mean(name, listed)
    message = f"{what} '{name}' does not exist" + (f": {hint}" if hint else "")
    return Diagnostic(code, message, span, f"known: {', '.join(listed)}" if listed else f"the bundle has no {what}s")


def _plugin(draft: Draft) -> list[Diagnostic]:
    from engine.models import PLUGINS

    if not draft.sound("model", "plugin") or draft.manifest.model.plugin in PLUGINS:
        return []
    name = draft.manifest.model.plugin
    return [unknown("R004", "model plugin", name, sorted(PLUGINS), draft.value("model", "plugin"))]


def _adapters(draft: Draft) -> list[Diagnostic]:
    if not draft.sound("adapters"):
        return []
    known = {*draft.manifest.adapters, *(str(path[1]) for path in _broken(draft, "adapters"))}
    used: list[tuple[JsonPath, str | None]] = [
        (("model", "adapter"), draft.manifest.model.adapter if draft.sound("model") else None)
    ]
    used += [(("routing", index, "adapter"), route.adapter) for index, route in draft.each("routing")]
    return [
        unknown("R001", "adapter", name, sorted(known), draft.value(*path))
        for path, name in used
        if name is not None and name not in known
    ]


def _broken(draft: Draft, key: str) -> list[tuple[str | int, ...]]:
    """The entries of a section that exist but have findings already."""
    assert draft.typed is not None  # noqa: S101
    return [path for path in draft.typed.broken if len(path) > 1 and path[0] == key]


def _tools(draft: Draft) -> list[Diagnostic]:
    if not draft.sound("tools"):
        return []
    findings: list[Diagnostic] = []
    seen: dict[str, int] = {}
    for index, item in draft.each("tools"):
        for name in tool_names(item):
            span = draft.value("tools", index)
            if name in seen:
                message = f"the tool '{name}' is already given in line {seen[name]}"
                findings.append(Diagnostic("R005", message, span, "give one of the two another 'name'"))
            seen.setdefault(name, span.line)
    # A broken entry may be the one that a name means, so names are only checked against a complete list.
    if not _broken(draft, "tools"):
        findings += _tool_references(draft, sorted(seen))
    return findings


def _tool_references(draft: Draft, known: list[str]) -> list[Diagnostic]:
    findings = []
    for index, route in draft.each("routing"):
        if route.after_tool is not None and route.after_tool not in known:
            findings.append(
                unknown("R002", "tool", route.after_tool, known, draft.value("routing", index, "after_tool"))
            )
    ending = draft.manifest.loop.termination_tool
    if draft.sound("loop", "termination_tool") and ending is not None and ending not in known:
        findings.append(unknown("R011", "tool", ending, known, draft.value("loop", "termination_tool")))
    return findings


def _context(draft: Draft) -> list[Diagnostic]:
    findings: list[Diagnostic] = []
    seen: dict[str, int] = {}
    for index, item in draft.each("context"):
        span = draft.value("context", index, "name")
        if item.name in seen:
            message = f"the context provider '{item.name}' is already given in line {seen[item.name]}"
            findings.append(Diagnostic("R012", message, span, "give one of the two another name"))
        seen.setdefault(item.name, span.line)
    if _broken(draft, "context") or not draft.sound("context"):
        return findings
    for index, tool in draft.each("tools"):
        for position, name in enumerate(tool.context if isinstance(tool, ScriptTool) else ()):
            if name not in seen:
                place = draft.value("tools", index, "context", position)
                findings.append(unknown("R003", "context provider", name, sorted(seen), place))
    return findings


def _nodes(draft: Draft) -> list[Diagnostic]:
    if not draft.sound("nodes"):
        return []
    nodes = draft.manifest.nodes
    findings = [
        unknown("R006", "language", name, sorted(LANGUAGES), draft.value("nodes", "languages", index))
        for index, name in enumerate(nodes.languages)
        if name not in LANGUAGES and draft.sound("nodes", "languages")
    ]
    known = node_types(nodes.languages) if not findings else node_types()
    for index, name in enumerate(nodes.types):
        if name not in known:
            findings.append(unknown("R007", "node type", name, known, draft.value("nodes", "types", index)))
    return findings

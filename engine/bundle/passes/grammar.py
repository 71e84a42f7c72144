"""Grammar: the strategy exists, its file compiles, and every tool's schema can be enforced."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from engine.bundle.draft import Draft
from engine.diagnostics import Diagnostic, Span
from engine.grammar.constraint import ConstraintOptions


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings."""
    from engine.grammar import check_options

    if not draft.sound("grammar") or (draft.typed and any(path[0] == "grammar" for path in draft.typed.broken if path)):
        return []
    spec = draft.manifest.grammar
    text = draft.text(spec.file) if spec.file is not None else None
    if spec.file is not None and text is None:
        return []  # layout says why
    custom: Any = text
    if spec.file is not None and text is not None and spec.file.endswith(".json"):
        custom, problem = _read_json(text, draft.source.show(spec.file))
        if problem:
            return [problem]
    options = ConstraintOptions(spec.strategy, spec.mode, spec.parallel_calls, spec.text, custom)
    spans = {tool.name: _tool_span(draft, tool.name) for tool in draft.schemas}
    block = draft.value("grammar")
    found = check_options(draft.schemas, options, block, modes=_modes(draft), tool_spans=spans)
    return [_placed(draft, item, block) for item in found]


def _modes(draft: Draft) -> tuple[str, ...]:
    from engine.models import PLUGINS, get_plugin

    name = draft.manifest.model.plugin
    if draft.sound("model", "plugin") and name in PLUGINS:
        return get_plugin(name).modes()
    return (draft.manifest.grammar.mode,)  # an unknown plugin has its own finding


def _tool_span(draft: Draft, name: str) -> Span:
    path = next((use.path for use in draft.uses if use.spec is not None and use.name == name), ("tools",))
    return draft.value(*path)


def _placed(draft: Draft, item: Diagnostic, block: Span) -> Diagnostic:
    """Move a finding about the whole block to the key, or the line of the grammar file, that it is about."""
    if item.span != block:
        return item
    keys = {"G001": "strategy", "G002": "file", "G003": "file", "G005": "mode"}
    path = ("grammar", keys.get(item.code, "strategy"))
    assert draft.document is not None  # noqa: S101
    if path not in draft.document.positions:
        path = ("grammar", "strategy")
    line = re.search(r"\bline (\d+)", item.message)
    file = draft.manifest.grammar.file
    if item.code == "G003" and file is not None:
        return replace(item, span=Span(draft.source.show(file), int(line.group(1)) if line else 1))
    return replace(item, span=draft.value(*path))


def _read_json(text: str, file: str) -> tuple[Mapping[str, Any] | None, Diagnostic | None]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return None, Diagnostic(
            "G003", f"the structural tag is not JSON: {error.msg}", Span(file, error.lineno, error.colno)
        )
    except RecursionError:
        return None, Diagnostic("G003", "the structural tag is nested too deeply", Span(file))
    if not isinstance(value, dict):
        return None, Diagnostic("G003", "a structural tag is a JSON object", Span(file), "wrap it in { }")
    return value, None

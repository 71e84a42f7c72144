"""Grammar: the strategy exists, its file compiles, and every tool's schema can be enforced."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.bundle.cache import FindingsCache, engine_mark
from engine.bundle.draft import Draft
from engine.diagnostics import Diagnostic, Span
from engine.errors import ConfigError
from engine.grammar.constraint import ConstraintOptions, Mode
from engine.messages import ToolSchema

if TYPE_CHECKING:
    from engine.grammar.walk import Problem
    from engine.models.base import ModelPlugin


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
    block, plugin = draft.value("grammar"), _plugin(draft)
    modes = (spec.mode,) if plugin is None else plugin.modes()  # an unknown plugin has its own finding
    unheld = None if plugin is None else partial(_unheld, plugin, spec.mode)
    found = check_options(draft.schemas, options, block, modes=modes, tool_spans=spans, unheld=unheld)
    if plugin is not None and all(item.severity != "error" for item in found):
        draft.constrained = (plugin, options)
    return [_placed(draft, item, block) for item in found]


def _plugin(draft: Draft) -> ModelPlugin | None:
    from engine.models import PLUGINS, get_plugin

    name = draft.manifest.model.plugin
    return get_plugin(name) if draft.sound("model", "plugin") and name in PLUGINS else None


def _unheld(plugin: ModelPlugin, mode: Mode, tool: ToolSchema) -> Sequence[Problem]:
    return plugin.unheld(tool, mode) if mode in plugin.modes() else ()


def check_compiled(
    drafts: Sequence[Draft], store: FindingsCache | None, *, known_only: bool = False
) -> list[list[Diagnostic] | None]:
    """Write every constraint that a run may send, and compile it where xgrammar is installed; by bundle.

    What was written and compiled before is known by the tools and the options, so that a bundle whose prompts changed
    does not import xgrammar.

    Args:
        drafts: The bundles, after their passes.
        store: Spares constraints that were compiled before; None to compile all.
        known_only: Compile none; a bundle whose constraints are not known gets None.
    """
    keys = {index: _content(draft) for index, draft in enumerate(drafts) if draft.constrained and draft.schemas}
    known = store.load(set(keys.values())) if store and keys else {}
    fresh: dict[str, list[Diagnostic]] = {}
    for index, key in keys.items():
        if key not in known and key not in fresh and not known_only:
            fresh[key] = _compile(drafts[index])
    if store:
        store.store(fresh)
    found: dict[str, Sequence[Diagnostic]] = {**known, **fresh}
    return [
        [] if index not in keys else _at(draft, found[keys[index]]) if keys[index] in found else None
        for index, draft in enumerate(drafts)
    ]


def _at(draft: Draft, found: Sequence[Diagnostic]) -> list[Diagnostic]:
    block = draft.value("grammar")
    return [_placed(draft, replace(item, span=block), block) for item in found]


def _content(draft: Draft) -> str:
    assert draft.constrained is not None  # noqa: S101 - the caller's condition
    plugin, options = draft.constrained
    tools = [[tool.name, tool.parameters] for tool in draft.schemas]
    text = json.dumps([engine_mark(), plugin.name, astuple(options), _tokens(draft), tools], default=repr)
    return "constraint " + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _tokens(draft: Draft) -> int | None:
    return draft.manifest.model.sampling.max_tokens if draft.sound("model", "sampling") else None


def _compile(draft: Draft) -> list[Diagnostic]:
    """Return what is wrong with the constraints: of the mode, or with `auto` of every mode that a server may choose."""
    from engine.grammar.compiled import COMPILED_KINDS, compile_constraint, has_xgrammar

    assert draft.constrained is not None  # noqa: S101 - the caller's condition
    plugin, options = draft.constrained
    options = replace(options, max_tokens=_tokens(draft))
    chosen = [mode for mode in plugin.modes() if mode != "auto"] if options.mode == "auto" else [options.mode]
    for mode in chosen:
        try:
            constraint = plugin.constraint(draft.schemas, replace(options, mode=mode))
        except ConfigError as error:
            if mode == chosen[0]:
                return [Diagnostic("G005", str(error), Span("bundle.yaml"))]
            continue  # a server that takes only this mode is refused when a run begins
        ours = options.custom is None and constraint.kind in COMPILED_KINDS  # a grammar of the bundle has been checked
        complaint = compile_constraint(constraint) if ours and has_xgrammar() else None
        if complaint is not None:
            text = f"the constraint of mode '{mode}' does not compile, which is a fault of the engine: {complaint}"
            return [Diagnostic("G003", text, Span("bundle.yaml"))]
    return []


def _tool_span(draft: Draft, name: str) -> Span:
    path = next((use.path for use in draft.uses if use.spec is not None and use.name == name), ("tools",))
    return draft.value(*path)


def _placed(draft: Draft, item: Diagnostic, block: Span) -> Diagnostic:
    """Move a finding about the whole block to the key, or the line of the grammar file, that it is about."""
    if item.span != block:
        return item
    keys = {"G001": "strategy", "G002": "file", "G003": "file", "G005": "mode", "G007": "file"}
    path = ("grammar", keys.get(item.code, "strategy"))
    assert draft.document is not None  # noqa: S101
    if path not in draft.document.positions:
        path = ("grammar", "strategy")
    line = re.search(r"\bline (\d+)", item.message)
    file = draft.manifest.grammar.file
    if item.code in ("G003", "G007") and file is not None:
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

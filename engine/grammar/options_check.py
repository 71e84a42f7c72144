"""The findings of a manifest's `grammar` block: codes G001 to G005."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engine.diagnostics import Diagnostic, Span, did_you_mean
from engine.errors import ConfigError
from engine.grammar.check import check_grammar, has_xgrammar
from engine.grammar.constraint import ConstraintOptions
from engine.grammar.schema import inexpressible
from engine.grammar.strategies import STRATEGIES, resolve_strategy
from engine.messages import ToolSchema


def check_options(
    tools: Sequence[ToolSchema],
    options: ConstraintOptions,
    span: Span,
    *,
    modes: Sequence[str] = ("auto", "ebnf"),
    tool_spans: Mapping[str, Span] | None = None,
    compiled: bool | None = None,
) -> list[Diagnostic]:
    """Return the findings of a resolved `grammar` block.

    Args:
        tools: The bundle's tools.
        options: The block; `custom` holds the text of its file.
        span: Where the block is.
        modes: The modes of the model plugin.
        tool_spans: Where each tool is, by name; without one a finding of a tool is at `span`.
        compiled: Compile a custom grammar with xgrammar: None when it is installed, True always.
    """
    try:
        strategy = resolve_strategy(options.strategy)
    except ConfigError as error:
        hint = did_you_mean(options.strategy.partition("@")[0], STRATEGIES)
        known = ", ".join(f"{name}@{found.version}" for name, found in sorted(STRATEGIES.items()))
        return [Diagnostic("G001", str(error), span, f"{hint} known: {known}" if hint else f"known: {known}")]
    found = [*_file(strategy.name, options, span), *_mode(strategy.name, options, span, modes)]
    if strategy.name == "custom" and options.custom is not None:
        found += [_invalid(problem, span) for problem in _custom_problems(options.custom, compiled)]
    if strategy.name == "typed":
        found += _schemas(tools, span, tool_spans or {})
    return found


def _file(strategy: str, options: ConstraintOptions, span: Span) -> Iterator[Diagnostic]:
    if strategy == "custom" and options.custom is None:
        yield Diagnostic("G002", "strategy 'custom' has no grammar file", span, "name it: grammar.file")
    elif strategy != "custom" and options.custom is not None:
        yield Diagnostic(
            "G002",
            f"grammar.file has no effect with strategy '{strategy}'",
            span,
            "remove it, or use strategy 'custom'",
        )


def _mode(strategy: str, options: ConstraintOptions, span: Span, modes: Sequence[str]) -> Iterator[Diagnostic]:
    if strategy not in ("custom", "none") and options.mode not in modes:
        message = f"the model plugin has no grammar mode '{options.mode}'"
        yield Diagnostic("G005", message, span, f"use one of: {', '.join(modes)}")


def _invalid(problem: str, span: Span) -> Diagnostic:
    return Diagnostic("G003", f"the grammar does not compile: {problem}", span)


def _custom_problems(custom: str | Mapping[str, Any], compiled: bool | None) -> list[str]:
    if isinstance(custom, str):
        return check_grammar(custom, compiled=compiled)
    if custom.get("type") != "structural_tag":
        return ["a structural tag is an object whose 'type' is 'structural_tag'"]
    if compiled is False or not has_xgrammar():
        return []
    import json

    import xgrammar

    try:
        xgrammar.Grammar.from_structural_tag(json.dumps(custom))
    except (RuntimeError, ValueError, TypeError) as error:
        return [" ".join(str(error).split())]
    return []


def _schemas(tools: Sequence[ToolSchema], span: Span, tool_spans: Mapping[str, Span]) -> Iterator[Diagnostic]:
    for tool in tools:
        for problem in inexpressible(tool.parameters):
            if problem.refused:
                where = problem.path or "its schema"
                message = f"tool '{tool.name}': {where}: {problem.keyword}: {problem.reason}"
                help_ = (
                    "say it in a way that a grammar can enforce, or use strategy 'strict_json' and check it in the tool"
                )
                yield Diagnostic("G004", message, tool_spans.get(tool.name, span), help_)

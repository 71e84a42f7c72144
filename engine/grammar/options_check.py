"""The findings of a manifest's `grammar` block: codes G001 to G007."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engine.diagnostics import Diagnostic, Span, did_you_mean
from engine.errors import ConfigError
from engine.grammar.check import LABELS, check_grammar, inspect_grammar
from engine.grammar.compiled import compile_constraint, has_xgrammar
from engine.grammar.constraint import Constraint, ConstraintOptions
from engine.grammar.json_mode import json_inexpressible
from engine.grammar.schema import Problem, inexpressible
from engine.grammar.strategies import STRATEGIES, resolve_strategy
from engine.messages import ToolSchema

Unheld = Callable[[ToolSchema], Sequence[Problem]]


def check_options(
    tools: Sequence[ToolSchema],
    options: ConstraintOptions,
    span: Span,
    *,
    modes: Sequence[str] = ("auto", "ebnf"),
    tool_spans: Mapping[str, Span] | None = None,
    unheld: Unheld | None = None,
) -> list[Diagnostic]:
    """Return the findings of a resolved `grammar` block.

    Args:
        tools: The bundle's tools.
        options: The block; `custom` holds the text of its file.
        span: Where the block is.
        modes: The modes of the model plugin.
        tool_spans: Where each tool is, by name; without one a finding of a tool is at `span`.
        unheld: What of a tool's schema strategy typed does not hold in the mode; None takes calls that are JSON.
    """
    try:
        strategy = resolve_strategy(options.strategy)
    except ConfigError as error:
        hint = did_you_mean(options.strategy.partition("@")[0], STRATEGIES)
        known = ", ".join(f"{name}@{found.version}" for name, found in sorted(STRATEGIES.items()))
        return [Diagnostic("G001", str(error), span, f"{hint} known: {known}" if hint else f"known: {known}")]
    found = [*_file(strategy.name, options, span), *_mode(strategy.name, options, span, modes)]
    if strategy.name == "custom" and options.custom is not None:
        invalid = [_invalid(problem, span) for problem in _custom_problems(options.custom)]
        found += invalid or list(_servers(options.custom, span))
    if strategy.name == "typed":
        found += _schemas(tools, unheld or _unheld(options.mode), span, tool_spans or {})
    return found


def _unheld(mode: str) -> Unheld:
    listed = json_inexpressible if mode == "json_schema" else inexpressible
    return lambda tool: listed(tool.parameters)


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
    if strategy in ("custom", "none"):
        return
    if options.mode not in modes:
        message = f"the model plugin has no grammar mode '{options.mode}'"
        yield Diagnostic("G005", message, span, f"use one of: {', '.join(modes)}")
    elif options.mode == "json_schema" and options.text == "allowed" and "ebnf" in modes:
        message = "mode 'json_schema' holds the whole reply, so a reply cannot be text: text is allowed here"
        yield Diagnostic("G005", message, span, "use mode ebnf or structural_tag, or text: forbidden")


def _invalid(problem: str, span: Span) -> Diagnostic:
    return Diagnostic("G003", f"the grammar does not compile: {problem}", span)


def _custom_problems(custom: str | Mapping[str, Any]) -> list[str]:
    if isinstance(custom, str):
        return check_grammar(custom)
    if custom.get("type") != "structural_tag":
        return ["a structural tag is an object whose 'type' is 'structural_tag'"]
    if not has_xgrammar():
        return []
    complaint = compile_constraint(Constraint("structural_tag", custom))
    return [] if complaint is None else [complaint]


def _servers(custom: str | Mapping[str, Any], span: Span) -> Iterator[Diagnostic]:
    """Say which servers take a grammar, where it is not all of them."""
    if not isinstance(custom, str):
        message = f"a structural tag fits {LABELS['xgrammar']} only: llama.cpp, and so the embedded runtime, refuses it"
        yield Diagnostic("G007", message, span, "write it as EBNF, if it is to work on every server")
        return
    report = inspect_grammar(custom)
    if len(report.fits) != 1:
        return
    more = f" (and {len(report.issues) - 1} more like it)" if len(report.issues) > 1 else ""
    message = f"the grammar fits {LABELS[report.fits[0]]} only: {report.issues[0]}{more}"
    yield Diagnostic("G007", message, span, "write it as every server reads it: engine explain G007")


def _schemas(
    tools: Sequence[ToolSchema], unheld: Unheld, span: Span, tool_spans: Mapping[str, Span]
) -> Iterator[Diagnostic]:
    for tool in tools:
        for problem in unheld(tool):
            place = f"tool '{tool.name}': {problem.path or 'its schema'}: {problem.keyword}: {problem.reason}"
            at = tool_spans.get(tool.name, span)
            if problem.refused:
                help_ = (
                    "say it in a way that a grammar can enforce, or use strategy 'strict_json' and check it in the tool"
                )
                yield Diagnostic("G004", place, at, help_)
            else:
                help_ = "the model can write what the schema forbids; it then reads what is wrong with it"
                message = place if "checked" in problem.reason else f"{place}; it is checked after parsing"
                yield Diagnostic("G006", message, at, help_)

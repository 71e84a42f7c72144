"""A whole reply as a structural tag (xgrammar 0.2): what mode ebnf accepts, with a tag for each call.

A structural tag of `or`, `sequence`, `repeat` and `optional` over constants and grammars adds no text of its own, so it
accepts the same replies as an EBNF for xgrammar; `triggered_tags` and `tags_with_separator` would not bound the number
of calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from engine.grammar.expr import Expr, Rules
from engine.grammar.frame import CallFrame, free_text
from engine.messages import ToolSchema

Format = dict[str, Any]


def structural_tag(
    tools: Sequence[ToolSchema],
    frame: CallFrame,
    arguments: Callable[[ToolSchema, Rules], Expr],
    *,
    calls: int,
    text: int = 0,
) -> dict[str, Any]:
    """Return the structural tag of a reply that calls one of the tools; see `call_grammar` for the arguments."""
    reply = _either([_call(tool, frame, arguments) for tool in tools])
    if calls > 1:
        reply = _several(reply, frame.separator, calls)
    if text:
        rules = Rules(runs=True)
        before = _grammar(rules, free_text(rules, frame.tag, text))
        reply = _either([_sequence(before, {"type": "optional", "content": reply}), reply])
    return {"type": "structural_tag", "format": reply}


def _call(tool: ToolSchema, frame: CallFrame, arguments: Callable[[ToolSchema, Rules], Expr]) -> Format:
    rules = Rules(runs=True)
    written = arguments(tool, rules)
    content = _grammar(rules, written) if written.text else _constant("")
    return {"type": "tag", "begin": frame.begin(tool.name), "content": content, "end": frame.close}


def _several(one: Format, separator: str, most: int) -> Format:
    more = {"type": "repeat", "min": 0, "max": most - 1, "content": _sequence(_constant(separator), one)}
    return _sequence(one, more)


def _grammar(rules: Rules, root: Expr) -> Format:
    return {"type": "grammar", "grammar": rules.render(root)}


def _constant(text: str) -> Format:
    return {"type": "const_string", "value": text}


def _sequence(*parts: Format) -> Format:
    return {"type": "sequence", "elements": list(parts)}


def _either(parts: list[Format]) -> Format:
    return parts[0] if len(parts) == 1 else {"type": "or", "elements": parts}

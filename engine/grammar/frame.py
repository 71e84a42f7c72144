"""A whole reply as grammar: what surrounds a call's name and arguments, several calls, text beside calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from engine.grammar.automaton import text_until
from engine.grammar.charset import ALL, complement, of
from engine.grammar.charset import char_class as one_of
from engine.grammar.expr import EMPTY, Expr, Rules, choice, literal, optional, sequence
from engine.grammar.syntax import JSON_SYNTAX, Syntax
from engine.messages import ToolSchema

MAX_CALLS = 16
_TOKENS_OF_A_CALL = 50
_MAX_LESS_THAN = 8


@dataclass(frozen=True, slots=True)
class CallFrame:
    r"""What a plugin's wire format puts around the name and the arguments of a call.

    Attributes:
        open: Text before the name, such as `<tool_call>\n{"name": "`.
        between: Text between name and arguments.
        close: Text after the arguments.
        separator: Text between two calls.
        tag: How every call starts and no text of the model may go on; the start of `open`.
        syntax: How the arguments are written.
        json_keys: Where a call is a JSON object: its keys of the name and of the arguments.
    """

    open: str
    between: str
    close: str
    separator: str = "\n"
    tag: str = "<tool_call>"
    syntax: Syntax = JSON_SYNTAX
    json_keys: tuple[str, str] = ("name", "arguments")

    def begin(self, name: str) -> str:
        """Return the text of a call of the tool up to its arguments."""
        written = json.dumps(name)[1:-1] if self.syntax.name == JSON_SYNTAX.name else name
        return f"{self.open}{written}{self.between}"

    def wrap(self, name: str, arguments: Expr) -> Expr:
        """Match one call of the tool."""
        return sequence(literal(self.begin(name)), arguments, literal(self.close))


@dataclass(frozen=True, slots=True)
class Written:
    """A grammar's text and the characters of its longest reply."""

    text: str
    longest: int


def call_grammar(
    tools: Sequence[ToolSchema],
    frame: CallFrame,
    arguments: Callable[[ToolSchema, Rules], Expr],
    *,
    calls: int,
    text: int = 0,
    runs: bool = False,
) -> Written:
    """Return the grammar of a reply that calls one of the tools.

    Args:
        tools: At least one tool.
        frame: The wire format.
        arguments: Writes the arguments of a tool.
        calls: At most this many calls, at least one.
        text: Most characters of plain text; with any, a reply is text, calls, or text and then calls.
        runs: Write texts in the form that xgrammar masks quickly.
    """
    rules = Rules(runs=runs)
    one = choice(*(rules.add(f"call-{tool.name}", frame.wrap(tool.name, arguments(tool, rules))) for tool in tools))
    reply = one
    if calls > 1:
        one = rules.add("call", one)
        reply = sequence(one, rules.repeat(sequence(literal(frame.separator), one), 0, calls - 1, "next-call"))
    if text:
        reply = rules.add("calls", reply)
        reply = choice(sequence(free_text(rules, frame.tag, text), optional(reply)), reply)
    return Written(rules.render(reply), reply.longest)


def most_calls(max_tokens: int | None) -> int:
    """Return how many calls a reply may hold: 16, or fewer where that many would not fit into its token limit.

    A call takes some 50 tokens, and a small model that may call again does so until it has to stop.
    """
    return MAX_CALLS if max_tokens is None else max(2, min(MAX_CALLS, max_tokens // _TOKENS_OF_A_CALL))


def free_text(rules: Rules, tag: str, longest: int) -> Expr:
    """Match text in which no call can start, of 1 to `longest` pieces.

    After the tag's first character the text must leave the tag's spelling before it is complete, so the first time
    that a reply spells
    the tag, a call begins. A piece is one character, or the start of the tag with the character that leaves it; a
    text cannot end
    inside such a piece, nor go from one directly into the next, save for a run of the first character.

    Args:
        rules: Where rules are added.
        tag: How a call starts.
        longest: Most pieces.
    """
    if rules.runs:
        return rules.add("text", text_until(rules, "", tag, (1, longest), (ALL, ()), anywhere=False))
    first = tag[0]
    spelled = tag[1:].partition(first)[0]
    plain = one_of(complement(of(first)))
    leave: Expr = EMPTY
    for char in reversed(spelled):
        other = one_of(complement(of(first + char)))
        leave = choice(other, sequence(literal(char), leave)) if leave.text else other
    run = rules.repeat(literal(first), 1, _MAX_LESS_THAN, "run")
    piece = rules.add("text-piece", choice(plain, sequence(run, leave)) if leave.text else plain)
    return rules.repeat(piece, 1, longest, "text")

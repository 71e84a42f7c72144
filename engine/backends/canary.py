"""A canary: a request whose constraint forces an answer that no model would give, to see whether it is in force.

Servers ignore fields that they don't know, so that a misspelt or outdated constraint is answered with 200 and any text.
Only a reply proves that a constraint is enforced.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from typing import Any

from engine.backends.base import Backend, Completion, CompletionRequest
from engine.errors import BackendRejected
from engine.grammar.constraint import NO_CONSTRAINT, Constraint, Kind
from engine.manifest.bundle_model import Sampling
from engine.models.base import Adapter

# Asks for what the constraint forbids, also inside a call or an object, whose schema the model may get to read.
_ASKED = 'Say "hello" and nothing else. In a tool call or in JSON, every text is "hello".'
_TOOL, _KEY = "say", "text"
# The forced answer ends after a dozen tokens; the second number is for a model that thinks before it answers. A
# temperature of 1 is the one that no server refuses.
_TOKENS = (256, 4096)
_WORD = re.compile(r"zebra-[0-9a-f]{6}")


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What a canary showed.

    Attributes:
        kind: The kind of constraint.
        in_force: Whether the reply was the one that the constraint allows.
        said: What came: the text, or the call's arguments; empty where the server refused.
        detail: One line for people; of a refusal, the server's words.
        refused: Whether the server refused the constraint rather than ignored it.
    """

    kind: Kind
    in_force: bool
    said: str = ""
    detail: str = ""
    refused: bool = False


async def in_force(
    backend: Backend, kind: Kind, model: str | None = None, adapter: Adapter | None = None
) -> Enforcement:
    """Send one short request whose constraint forces an improbable answer, and look at the reply.

    Where all of its tokens went into a thought that is not shown, it is sent once more with room for that.

    Args:
        backend: Where to send it.
        kind: The kind of constraint.
        model: The model that answers; None is the backend's default.
        adapter: The adapter that answers.

    Raises:
        BackendUnavailable: The server did not answer at all.
    """
    if kind == "none":
        return Enforcement(kind, in_force=True, detail="nothing is constrained")
    word = f"zebra-{secrets.token_hex(3)}"
    completion = Completion("")
    for tokens in _TOKENS:
        sampling = Sampling(temperature=1.0, max_tokens=tokens)
        messages = [{"role": "user", "content": _ASKED}]
        request = CompletionRequest(messages, model, canary(kind, word), sampling, adapter)
        try:
            completion = await backend.complete(request)
        except BackendRejected as error:
            return Enforcement(kind, in_force=False, detail=str(error), refused=True)
        if completion.finish_reason != "length" or completion.text or completion.tool_calls:
            break
    return _judge(kind, word, completion)


def canary_word(request: CompletionRequest) -> str | None:
    """Return the word that a request's constraint forces, if the request is one of `in_force`."""
    if [dict(message) for message in request.messages] != [{"role": "user", "content": _ASKED}]:
        return None
    found = _WORD.search(json.dumps(request.constraint.value, default=dict))
    return found[0] if found else None


def canary(kind: Kind, word: str) -> Constraint:
    """Return the constraint of one kind that allows nothing but this word, as text, in an object or as an argument."""
    schema = {
        "type": "object",
        "properties": {_KEY: {"type": "string", "enum": [word]}},
        "required": [_KEY],
        "additionalProperties": False,
    }
    match kind:
        case "ebnf":
            return Constraint(kind, f'root ::= "{word}"\n')
        case "structural_tag":
            return Constraint(kind, {"type": "structural_tag", "format": {"type": "const_string", "value": word}})
        case "json_schema":
            return Constraint(kind, schema)
        case "strict_tools":
            function = {"name": _TOOL, "description": 'Says "hello".', "strict": True, "parameters": schema}
            tools = [{"type": "function", "function": function}]
            return Constraint(kind, {"tools": tools, "tool_choice": "required", "parallel_tool_calls": False})
        case "none":
            return NO_CONSTRAINT


def _judge(kind: Kind, word: str, completion: Completion) -> Enforcement:
    said = _said(kind, completion)
    expected: Any = word if kind in ("ebnf", "structural_tag") else {_KEY: word}
    came: Any = said.strip() if expected == word else _parsed(said)
    if came == expected:
        return Enforcement(kind, in_force=True, said=said, detail="the model was held to the constraint")
    shown = " ".join(said.split())
    shown = f"{shown[:80]}…" if len(shown) > 80 else shown
    why = "a text" if kind != "strict_tools" or completion.tool_calls else "no call but a text"
    cut = " (cut off)" if completion.finish_reason == "length" else ""
    detail = f"the answer was {why}, {shown!r}{cut}, where only {word!r} was allowed"
    return Enforcement(kind, in_force=False, said=said, detail=detail)


def _said(kind: Kind, completion: Completion) -> str:
    if kind != "strict_tools" or not completion.tool_calls:
        return completion.text
    function = completion.tool_calls[0].get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return arguments if isinstance(arguments, str) else json.dumps(arguments, default=str)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None

"""xgrammar at work, where it is installed: does a constraint compile, and is a reply what it allows.

xgrammar is what vLLM and SGLang enforce constraints with; importing it takes more than a second.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from engine.errors import ConfigError, MissingExtraError
from engine.grammar.constraint import Constraint, Kind

COMPILED_KINDS: tuple[Kind, ...] = ("ebnf", "structural_tag", "json_schema")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a reply is what a constraint allows.

    Attributes:
        accepted: Whether it is, as a whole.
        at: Characters up to which it could still have become a reply; its length where it only ends too early.
    """

    accepted: bool
    at: int


def has_xgrammar() -> bool:
    """Whether xgrammar is installed; it is not imported."""
    return importlib.util.find_spec("xgrammar") is not None


def compile_grammar(text: str) -> str | None:
    """Return xgrammar's complaint about an EBNF text, on one line, or None.

    Raises:
        MissingExtraError: xgrammar is not installed.
    """
    return compile_constraint(Constraint("ebnf", text))


def compile_constraint(constraint: Constraint) -> str | None:
    """Return xgrammar's complaint about a constraint, on one line, or None.

    Raises:
        MissingExtraError: xgrammar is not installed.
        ConfigError: It is not of a kind that xgrammar compiles.
    """
    read, text = _reader(constraint)
    try:
        read(text)
    except (RuntimeError, ValueError, TypeError) as error:
        return " ".join(str(error).split())
    return None


def verify(constraint: Constraint, text: str) -> Verdict:
    """Return whether a reply is what the constraint allows, and where it stops being so.

    Raises:
        MissingExtraError: xgrammar is not installed.
        ConfigError: The constraint is not of a kind that xgrammar compiles, or does not compile.
    """
    complaint = compile_constraint(constraint)
    if complaint is not None:
        raise ConfigError(f"the constraint does not compile: {complaint}")
    read, written = _reader(constraint)
    import xgrammar

    compiled = _compiler().compile_grammar(read(written))
    matcher = xgrammar.GrammarMatcher(compiled, terminate_without_stop_token=True)
    if matcher.accept_string(text):
        return Verdict(bool(matcher.is_terminated()), len(text))
    matcher.reset()
    at = next(index for index, char in enumerate(text) if not matcher.accept_string(char))
    return Verdict(False, at)


def _reader(constraint: Constraint) -> tuple[Callable[[str], Any], str]:
    if not has_xgrammar():
        raise MissingExtraError("compiling a grammar", "backend")
    import xgrammar

    value = constraint.value
    text = value if isinstance(value, str) else json.dumps(value, default=dict)
    match constraint.kind:
        case "ebnf":
            return xgrammar.Grammar.from_ebnf, text
        case "structural_tag":
            return xgrammar.Grammar.from_structural_tag, text
        case "json_schema":
            return xgrammar.Grammar.from_json_schema, text
        case _:
            raise ConfigError(f"a constraint of kind {constraint.kind} is not a grammar: only the server can check it")


@lru_cache(maxsize=1)
def _compiler() -> Any:
    import xgrammar

    info = xgrammar.TokenizerInfo(["</s>"], vocab_type=xgrammar.VocabType.RAW, stop_token_ids=[0])
    return xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)

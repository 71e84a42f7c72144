"""Whether an EBNF text is a grammar that xgrammar and llama.cpp read: an own quick check, then xgrammar's compiler.

The common subset and the limits are measured facts about xgrammar 0.2 and llama.cpp of 2026; see `expr.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from engine.grammar.compiled import compile_grammar, has_xgrammar
from engine.grammar.ebnf_reader import Grammar, Issue, read_ebnf

Server = Literal["llama_cpp", "xgrammar"]
SERVERS: tuple[Server, ...] = ("llama_cpp", "xgrammar")
LABELS: dict[str, str] = {"llama_cpp": "llama.cpp", "xgrammar": "xgrammar (vLLM, SGLang)"}


@dataclass(frozen=True, slots=True)
class GrammarReport:
    """What is wrong with a grammar, for which server.

    Attributes:
        issues: The findings in the order of the text.
    """

    issues: tuple[Issue, ...]

    @property
    def fits(self) -> tuple[Server, ...]:
        """The servers that read the grammar."""
        return tuple(server for server in SERVERS if not any(server in issue.servers for issue in self.issues))

    @property
    def errors(self) -> list[str]:
        """The findings that no server accepts, or all of them when the grammar fits none."""
        fatal = [issue for issue in self.issues if set(issue.servers) == set(SERVERS)]
        return [str(issue) for issue in (fatal or ([] if self.fits else self.issues))]

    @property
    def notes(self) -> list[str]:
        """One line for each finding of one server."""
        return [f"{LABELS[issue.servers[0]]}: {issue}" for issue in self.issues if len(issue.servers) == 1]


def inspect_grammar(text: str) -> GrammarReport:
    """Return what the engine's own reader finds, without compiling."""
    grammar = read_ebnf(text)
    issues = list(grammar.issues)
    if not any(set(issue.servers) == set(SERVERS) for issue in issues):
        issues += _undefined(grammar) + _left_recursive(grammar)
    return GrammarReport(tuple(sorted(issues, key=lambda issue: issue.line)))


def _undefined(grammar: Grammar) -> list[Issue]:
    if "root" not in grammar.rules:
        return [Issue(1, "there is no rule 'root'", SERVERS)]
    return [
        Issue(line, f"rule '{name}' is not defined", SERVERS)
        for name, line in sorted(grammar.used.items(), key=lambda item: item[1])
        if name not in grammar.rules
    ]


def _left_recursive(grammar: Grammar) -> list[Issue]:
    found = []
    for name in grammar.rules:
        seen, todo = set(), list(grammar.starts.get(name, ()))
        while todo:
            start = todo.pop()
            if start not in seen:
                seen.add(start)
                todo += grammar.starts.get(start, ())
        if name in seen:
            found.append(Issue(grammar.rules[name], f"rule '{name}' is left-recursive", ("llama_cpp",)))
    return found


def check_grammar(text: str, *, compiled: bool | None = None) -> list[str]:
    """Return what is wrong with an EBNF grammar; an empty list means that a server accepts it.

    Args:
        text: The grammar.
        compiled: Compile it with xgrammar too: None when that is installed, True always.

    Raises:
        MissingExtraError: `compiled` is True and xgrammar is not installed.
    """
    report = inspect_grammar(text)
    if report.errors or compiled is False or (compiled is None and not has_xgrammar()):
        return report.errors
    complaint = compile_grammar(text) if "xgrammar" in report.fits else None
    return [] if complaint is None else [f"xgrammar: {complaint}"]

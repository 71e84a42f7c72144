"""Reads EBNF as xgrammar and llama.cpp do: rules, what they use, and what one of the two does not understand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

BOTH = ("llama_cpp", "xgrammar")
MAX_REPETITION = 2000
_TOKEN = re.compile(
    r"""(?P<space>[ \t]+|\#[^\n]*)|(?P<line>\r?\n)|(?P<rule>[A-Za-z0-9_.-]+[ \t]*::=)|(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<chars>\[(?:[^\]\\\n]|\\.)*\])|(?P<count>\{[ ]*\d+[ ]*(?:,[ ]*\d*[ ]*)?\})|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)
    |(?P<look>\(\?=)|(?P<mark>[()|*+?])|(?P<any>\.)|(?P<token><[^>\n]*>)|(?P<single>'(?:[^'\\\n]|\\.)*')""",
    re.VERBOSE,
)
_HEX = frozenset("0123456789abcdefABCDEF")
_ESCAPE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[nrt\\\"\[\]])")


@dataclass(frozen=True, slots=True)
class Issue:
    """Something that these servers do not accept."""

    line: int
    message: str
    servers: tuple[str, ...]

    def __str__(self) -> str:
        return f"line {self.line}: {self.message}"


@dataclass(slots=True)
class Grammar:
    """A grammar as far as the checks need it.

    Attributes:
        rules: The line of each rule.
        used: The line of the first use of each name.
        starts: The names with which a rule can start.
        issues: What was found while reading.
    """

    rules: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    starts: dict[str, set[str]] = field(default_factory=dict)
    issues: list[Issue] = field(default_factory=list)


def read_ebnf(text: str) -> Grammar:
    """Return the rules of a text and the issues that reading it shows."""
    reader = _Reader()
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            reader.issue(f"unexpected '{text[at]}'")
            following = text.find("\n", at)
            at = len(text) if following < 0 else following
            continue
        getattr(reader, match.lastgroup or "space")(match[0])
        at = match.end()
    reader.close()
    return reader.grammar


class _Reader:
    """Takes one token after another; a method per kind of token."""

    def __init__(self) -> None:
        self.grammar = Grammar()
        self._line = 1
        self._rule = ""
        self._open = 0
        self._starting: list[bool] = []
        self._last = ""

    def issue(self, message: str, servers: tuple[str, ...] = BOTH) -> None:
        self.grammar.issues.append(Issue(self._line, message, servers))

    def space(self, text: str) -> None:
        """Nothing to do between tokens."""

    def line(self, text: str) -> None:  # noqa: ARG002 - one signature for all tokens
        self._line += 1

    def rule(self, text: str) -> None:
        self.close()
        name = text[: text.index("::=")].strip()
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", name):
            self.issue(f"'{name}' is not a rule name")
        elif "_" in name:
            self.issue(f"rule name '{name}' has an underscore", ("llama_cpp",))
        if name in self.grammar.rules:
            self.issue(f"rule '{name}' is defined twice")
        self.grammar.rules[name] = self._line
        self._rule, self._starting, self._last = name, [True], ""

    def close(self) -> None:
        if self._rule and len(self._starting) > 1:
            self.issue(f"rule '{self._rule}' has an open parenthesis")
        if self._rule and self._last in ("", "|"):
            self.issue(f"rule '{self._rule}' ends with nothing", ("xgrammar",) if self._last == "|" else BOTH)

    def _element(self, kind: str) -> None:
        if not self._rule:
            self.issue("text before the first rule")
            self._starting = [False]
        self._starting[-1] = False
        self._last = kind

    def name(self, text: str) -> None:
        starting = bool(self._starting) and all(self._starting)
        self._element("element")
        self.grammar.used.setdefault(text, self._line)
        if "_" in text:
            self.issue(f"rule name '{text}' has an underscore", ("llama_cpp",))
        if starting:
            self.grammar.starts.setdefault(self._rule, set()).add(text)

    def string(self, text: str) -> None:
        self._escapes(text)
        self._element("element")

    def chars(self, text: str) -> None:
        self._escapes(text)
        if text in ("[]", "[^]"):
            self.issue("an empty character class")
        self._element("element")

    def _escapes(self, text: str) -> None:
        at = text.find("\\")
        while at >= 0:
            match = _ESCAPE.match(text, at)
            if match is None:
                self.issue(f"the escape {text[at : at + 2]} is not known to llama.cpp", ("llama_cpp",))
            elif match[0][1] == "x" and text[match.end() : match.end() + 1] in _HEX:
                self.issue(
                    f"xgrammar reads the digit after {match[0]} into the number; write \\u00{match[0][2:]}",
                    ("xgrammar",),
                )
            at = text.find("\\", match.end() if match else at + 2)

    def count(self, text: str) -> None:
        self._repeats(text)
        numbers = [int(number) for number in re.findall(r"\d+", text)]
        if len(numbers) == 2 and numbers[0] > numbers[1]:
            self.issue(f"{text} has its bounds in the wrong order")
        if max(numbers) > MAX_REPETITION:
            self.issue(f"{text} is above {MAX_REPETITION}, which llama.cpp refuses or leaves unbounded", ("llama_cpp",))

    def _repeats(self, text: str) -> None:
        if self._last not in ("element", "repeat"):
            self.issue(f"'{text}' has nothing to repeat")
        self._last = "repeat"

    def mark(self, text: str) -> None:
        if text in "*+?":
            self._repeats(text)
        elif text == "(":
            starting = bool(self._starting) and all(self._starting)
            self._element("(")
            self._starting[-1] = starting
            self._starting.append(True)
        elif text == "|":
            if self._last in ("", "|", "("):
                self.issue("an empty alternative", ("xgrammar",))
            self._last = "|"
            self._starting[-1:] = [True]
        else:
            self._end_group()

    def _end_group(self) -> None:
        if len(self._starting) < 2:
            self.issue("a ')' without its '('")
            return
        if self._last in ("(", "|"):
            self.issue("an empty alternative", ("xgrammar",))
        self._starting.pop()
        self._starting[-1] = False
        self._last = "element"

    def any(self, text: str) -> None:  # noqa: ARG002 - one signature for all tokens
        self.issue("'.' is read by llama.cpp only", ("xgrammar",))
        self._element("element")

    def token(self, text: str) -> None:
        self.issue(f"{text} is read by llama.cpp only", ("xgrammar",))
        self._element("element")

    def single(self, text: str) -> None:
        self.issue(f"{text} is in single quotes; use double ones")
        self._element("element")

    def look(self, text: str) -> None:  # noqa: ARG002 - one signature for all tokens
        self.issue("look-ahead is read by xgrammar only", ("llama_cpp",))
        self._element("(")
        self._starting.append(False)

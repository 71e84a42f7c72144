"""What the cursor of a Jinja template or expression is in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Want = Literal["name", "attribute", "filter", "test", "path", "statement", "block", "nothing"]

_REACH = 10_000
_OPEN = re.compile(r"\{[#{%]")
_RAW = re.compile(r"\{%[-+]?\s*raw\s*[-+]?%\}")
_END_RAW = re.compile(r"\{%[-+]?\s*endraw")
_TEXTS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_WORD_BEFORE = re.compile(r"\w*\Z")
_WORD_AFTER = re.compile(r"\w*")
_CHAIN = re.compile(r"((?:[A-Za-z_]\w*\s*\.\s*)*)\Z")
_ASSIGNED = re.compile(
    r"\{%[-+]?\s*(?:set\s+(?P<set>\w+)|for\s+(?P<for>\w+(?:\s*,\s*\w+)*)\s+in|macro\s+(?P<macro>\w+)"
    r"|import\s+\S+\s+as\s+(?P<as>\w+)|from\s+\S+\s+import\s+(?P<from>[\w\s,]+?)\s*[-+]?%\})"
)
_MACRO_ARGUMENTS = re.compile(r"\{%[-+]?\s*(?:macro\s+\w+|call)\s*\(([^)]*)\)")


@dataclass(frozen=True, slots=True)
class TemplateCursor:
    """Where the cursor is.

    Attributes:
        want: What belongs here.
        owner: Names in front of it, such as `("node",)` in `node.na`.
        word: The whole word that the cursor touches.
        first: Where the word begins.
        last: Where it ends.
        statement: The tag's first word, such as `include`; empty in an expression.
    """

    want: Want
    owner: tuple[str, ...]
    word: str
    first: int
    last: int
    statement: str = ""


def template_cursor(text: str, offset: int) -> TemplateCursor | None:
    """Return what the cursor of a template is in; None outside of tags."""
    opened = _last_tag(text, offset)
    if opened is None or _closing(text, opened + 2, "}}" if text[opened + 1] == "{" else "%}") < offset:
        return None
    return _inside(text, opened + 2, offset, statement=text[opened + 1] == "%")


def _last_tag(text: str, offset: int) -> int | None:
    """Return where the last tag in front of the cursor begins, None where that is a comment or a raw text."""
    at, last = 0, None
    while match := _OPEN.search(text, at, offset):
        at = match.end()
        raw = _RAW.match(text, match.start())
        if match.group() == "{#" or raw:
            end = _END_RAW.search(text, raw.end()) if raw else re.compile("#}").search(text, at)
            if end is None or end.start() >= offset:
                return None
            last, at = None, end.start() + 2
        else:
            last = match.start()
    return last


def expression_cursor(text: str, offset: int, begin: int = 0) -> TemplateCursor:
    """Return what the cursor of an expression that starts at `begin` is in."""
    return _inside(text, begin, offset, statement=False)


def _closing(text: str, at: int, closing: str) -> int:
    """Return where a tag ends: at its end, at the next tag, or with the text."""
    stops = [found for found in (text.find(mark, at) for mark in (closing, "{{", "{%")) if found >= 0]
    return min(stops, default=len(text))


def _inside(text: str, begin: int, offset: int, *, statement: bool) -> TemplateCursor:
    before = text[max(begin, offset - _REACH) : offset]
    head = ""
    if statement:
        before = before.removeprefix("-").removeprefix("+")
        found = re.match(r"\s*(\w+)\s", before)
        head = found.group(1) if found else ""
    first, last = _word(text, offset)
    first = max(first, begin)
    if statement and not head:
        return TemplateCursor("statement", (), text[first:last], first, last)
    opened = _open_text(before)
    if opened is not None:
        return _in_text(text, offset - len(before) + opened, offset, head)
    return _in_code(text, before, (first, last), head)


def _word(text: str, offset: int) -> tuple[int, int]:
    before = _WORD_BEFORE.search(text[max(offset - 200, 0) : offset])
    after = _WORD_AFTER.match(text, offset)
    return offset - len(before.group() if before else ""), after.end() if after else offset


def _open_text(before: str) -> int | None:
    """Return where the text begins in which the cursor is, behind its quote; None outside of texts."""
    rest = _TEXTS.sub(lambda match: " " * len(match.group()), before)
    found = [at for at in (rest.find("'"), rest.find('"')) if at >= 0]
    return min(found) + 1 if found else None


def _in_text(text: str, first: int, offset: int, head: str) -> TemplateCursor:
    quote = text[first - 1]
    stops = [found for found in (text.find(quote, offset), text.find("\n", offset)) if found >= 0]
    last = min(stops, default=len(text))
    want: Want = "path" if head in ("include", "extends", "import", "from") else "nothing"
    return TemplateCursor(want, (), text[first:last], first, last, head)


def _in_code(text: str, before: str, word: tuple[int, int], head: str) -> TemplateCursor:
    first, last = word
    rest = before[: len(before) - len(_match(_WORD_BEFORE, before))].rstrip()
    name = text[first:last]
    if head in ("block", "endblock"):
        return TemplateCursor("block", (), name, first, last, head)
    if rest.endswith("|"):
        return TemplateCursor("filter", (), name, first, last, head)
    if re.search(r"\bis(\s+not)?$", rest):
        return TemplateCursor("test", (), name, first, last, head)
    if rest.endswith("."):
        chain = _match(_CHAIN, rest)
        owner = tuple(part.strip() for part in chain.split(".") if part.strip())
        behind = rest[: len(rest) - len(chain)]
        plain = bool(owner) and not behind.rstrip().endswith(".")
        return TemplateCursor("attribute" if plain else "nothing", owner, name, first, last, head)
    binds = head in ("set", "for", "macro") and not re.search(r"[=(]|\bin\b", before)
    return TemplateCursor("nothing" if binds or name[:1].isdigit() else "name", (), name, first, last, head)


def _match(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group() if found else ""


def local_names(text: str) -> list[str]:
    """Return the names that a template binds itself, in the order of the text."""
    names: dict[str, None] = {}
    for match in _ASSIGNED.finditer(text):
        bound = next(group for group in match.groups() if group is not None)
        names |= dict.fromkeys(part.split(" as ")[-1].strip() for part in bound.split(",") if part.strip())
    for match in _MACRO_ARGUMENTS.finditer(text):
        names |= dict.fromkeys(part.partition("=")[0].strip() for part in match[1].split(",") if part.strip())
    return [name for name in names if name.isidentifier()]

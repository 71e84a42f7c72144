"""Lines of a .gitignore file as matchers, after https://git-scm.com/docs/gitignore and git's wildmatch.

A matcher answers for one path, not for what is below it: a walk asks for each folder on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

_SPECIAL = re.compile(r"[*?\[\\]")
_STAR = "[^/]*"
_FOLDERS = "(?:.*/)?"
_CLASSES = {
    "alnum": "a-zA-Z0-9", "alpha": "a-zA-Z", "blank": " \\t", "digit": "0-9", "lower": "a-z", "punct": "!-/:-@\\[-`{-~",
    "space": "\\s", "upper": "A-Z", "xdigit": "0-9a-fA-F",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """One line.

    Attributes:
        ignores: False for a line with `!`.
        folders_only: The line ended with a slash.
        whole: The pattern is about the whole path below its file, not only the last name.
        regex: What must match entirely.
    """

    ignores: bool
    folders_only: bool
    whole: bool
    regex: re.Pattern[str]

    def matches(self, path: str, *, folder: bool) -> bool:
        """Tell whether the line is about this path, relative to the folder of its file."""
        if self.folders_only and not folder:
            return False
        return self.regex.fullmatch(path if self.whole else path.rpartition("/")[2]) is not None


class Rules:
    """The lines of one file; lines that can match nothing are left out.

    Args:
        text: The file.
    """

    def __init__(self, text: str = "") -> None:
        lines = (_rule(line.removesuffix("\r")) for line in reversed(text.removeprefix("\ufeff").split("\n")))
        self._last_first = tuple(rule for rule in lines if rule is not None)
        self._any_name = _union(rule.regex for rule in self._last_first if not rule.whole)
        self._any_path = _union(rule.regex for rule in self._last_first if rule.whole)

    def answer(self, path: str, *, folder: bool) -> bool | None:
        """Return whether the last line that is about a path ignores it; None when no line is about it."""
        if not (self._any_name.fullmatch(path.rpartition("/")[2]) or self._any_path.fullmatch(path)):
            return None
        return next((rule.ignores for rule in self._last_first if rule.matches(path, folder=folder)), None)


def _union(parts: Iterable[re.Pattern[str]]) -> re.Pattern[str]:
    """Combine patterns, to find out quickly that none of them matches."""
    return re.compile("|".join(f"(?:{part.pattern})" for part in parts) or "(?!)", re.DOTALL)


@lru_cache(maxsize=4096)
def _rule(line: str) -> Rule | None:
    if line.startswith("#"):
        return None
    pattern = re.sub(r"(?<!\\)((?:\\\\)*(?:\\ )?) *\Z", r"\1", line)
    ignores = not pattern.startswith("!")
    pattern = pattern.removeprefix("!")
    folders_only = pattern.endswith("/")
    pattern = pattern.removesuffix("/")
    whole = "/" in pattern
    try:
        regex = _join(list(_translate(pattern.removeprefix("/"), whole=whole)))
        return Rule(ignores, folders_only, whole, re.compile(regex, re.DOTALL)) if regex else None
    except (ValueError, re.error):
        return None


def _join(parts: list[str]) -> str:
    """Put the parts together; a star that another one follows in the same name takes as little as it can, for good.

    That matches the same names, and keeps the time in proportion to the name's length.
    """
    joined: list[str] = []
    held = False
    for index, part in enumerate(parts):
        if part == _STAR:
            joined.append(")" if held else "")
            rest = parts[index + 1 :]
            ends = next((other for other, later in enumerate(rest) if later in ("/", _FOLDERS, ".*")), len(rest))
            held = _STAR in rest[:ends]
            part = "(?>[^/]*?" if held else _STAR  # noqa: PLW2901 - this is what stands for it
        joined.append(part)
    return "".join(joined)


def _translate(pattern: str, *, whole: bool) -> Iterator[str]:
    """Yield regular expressions for the parts of a pattern.

    Raises:
        ValueError: A bracket is not closed, or a backslash ends the pattern; git matches nothing with it.
    """
    position = 0
    while position < len(pattern):
        char = pattern[position]
        stars = re.compile(r"\*+").match(pattern, position)
        if stars:
            text, position = _stars(pattern, stars.start(), stars.end(), whole=whole)
            yield text
        elif char == "?":
            yield "[^/]"
            position += 1
        elif char == "[":
            text, position = _bracket(pattern, position + 1)
            yield text
        elif char == "\\":
            if position + 1 == len(pattern):
                raise ValueError("a backslash ends the pattern")
            yield re.escape(pattern[position + 1])
            position += 2
        else:
            yield re.escape(char)
            position += 1


def _stars(pattern: str, start: int, end: int, *, whole: bool) -> tuple[str, int]:
    """Translate a run of stars; two or more that are a whole name stand for any number of folders.

    Git compares the part before the first special character apart, so right behind that they count as a whole name too.
    """
    begins = pattern[max(0, start - 1) : start] in ("", "/") or not _SPECIAL.search(pattern, 0, start)
    rest = pattern[end:]
    if not (whole and begins and end - start > 1 and (not rest or rest.startswith(("/", "\\/")))):
        return _STAR, end
    return (_FOLDERS, end + 1) if rest.startswith("/") else (".*", end)


def _bracket(pattern: str, position: int) -> tuple[str, int]:
    """Translate a character class from behind its `[`."""
    negated = pattern[position : position + 1] in ("!", "^")
    position += negated
    parts: list[str] = []
    first = True
    while first or pattern[position : position + 1] != "]":
        first = False
        named = re.compile(r"\[:(\w*):\]").match(pattern, position)
        if named:
            if named[1] not in _CLASSES:
                raise ValueError("unknown character class")
            parts.append(_CLASSES[named[1]])
            position = named.end()
            continue
        low, position = _member(pattern, position)
        high = low
        if pattern[position : position + 1] == "-" and pattern[position + 1 : position + 2] not in ("", "]"):
            high, position = _member(pattern, position + 1)
        if low <= high:
            parts.append(f"{re.escape(low)}-{re.escape(high)}")
    inner = "".join(parts)
    if negated:
        return f"[^/{inner}]", position + 1
    return (f"(?!/)[{inner}]" if inner else "(?!)"), position + 1


def _member(pattern: str, position: int) -> tuple[str, int]:
    """Return the character at a place in a class, and the place behind it."""
    if pattern[position : position + 1] == "\\":
        position += 1
    if position >= len(pattern):
        raise ValueError("a bracket is not closed")
    return pattern[position], position + 1

"""Does a value, a call or a text hold what a case expects? Pure functions; every mismatch is one line."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.manifest.case_model import ExpectedCall, ExpectedText
from engine.manifest.patterns import as_pattern, compile_pattern

MAX_SHOWN = 160


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that was made.

    Attributes:
        tool: The tool.
        arguments: What the model gave.
        answer: What the tool answered; None when it did not get to it.
    """

    tool: str
    arguments: Mapping[str, Any]
    answer: str | None = None

    def __str__(self) -> str:
        listed = ", ".join(f"{name}={shown(value)}" for name, value in self.arguments.items())
        return f"{self.tool}({listed})"


def shown(value: object, limit: int = MAX_SHOWN) -> str:
    """Return a value as one line of JSON, cut where it is long."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def mismatches(expected: Any, actual: Any, *, exact: bool = False, at: str = "") -> list[str]:
    """Return where a value is not what is expected, a line each; none when it is.

    A text between slashes is a regular expression that must be found in a text, or in the JSON of another value.
    Objects must have the expected keys, and unless `exact` may have more. Lists must be of one length. `1` is `1.0`,
    but `1` is not `true`.

    Args:
        expected: What the case says.
        actual: What came.
        exact: Whether objects must have no further keys.
        at: The place of the value, for the lines.
    """
    pattern = as_pattern(expected)
    if pattern is not None:
        text = actual if isinstance(actual, str) else json.dumps(actual, ensure_ascii=False, default=str)
        found = compile_pattern(pattern).search(_searchable(text)) is not None
        return [] if found else [f"{_at(at)}expected a match of {expected}, got {shown(actual)}"]
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return _object(expected, actual, exact=exact, at=at)
    if isinstance(expected, Sequence) and not isinstance(expected, str) and isinstance(actual, list | tuple):
        return _list(expected, actual, exact=exact, at=at)
    return [] if _equal(expected, actual) else [f"{_at(at)}expected {shown(expected)}, got {shown(actual)}"]


def _object(expected: Mapping[str, Any], actual: Mapping[str, Any], *, exact: bool, at: str) -> list[str]:
    lines: list[str] = []
    for key, value in expected.items():
        place = f"{at}.{key}" if at else key
        if key in actual:
            lines += mismatches(value, actual[key], exact=exact, at=place)
        else:
            lines.append(f"{place}: expected {shown(value)}, but it was left out")
    if exact:
        lines += [f"{at}.{key}".lstrip(".") + ": not expected" for key in actual if key not in expected]
    return lines


def _list(expected: Sequence[Any], actual: Sequence[Any], *, exact: bool, at: str) -> list[str]:
    if len(expected) != len(actual):
        return [f"{_at(at)}expected {len(expected)} items, got {len(actual)}: {shown(list(actual))}"]
    pairs = enumerate(zip(expected, actual, strict=True))
    return [line for index, (one, two) in pairs for line in mismatches(one, two, exact=exact, at=f"{at}[{index}]")]


def _equal(expected: Any, actual: Any) -> bool:
    if isinstance(expected, bool) or isinstance(actual, bool):
        return expected is actual
    return bool(expected == actual)


def _at(place: str) -> str:
    return f"{place}: " if place else ""


def call_mismatches(expected: ExpectedCall, call: Call) -> list[str]:
    """Return where a call of the expected tool is not the expected call."""
    lines = mismatches(expected.arguments, call.arguments, exact=expected.match == "exact")
    if expected.result is not None:
        lines += [f"the answer: {line}" for line in text_mismatches(expected.result, call.answer or "")]
    return lines


def missing_calls(expected: Sequence[ExpectedCall], calls: Sequence[Call]) -> list[tuple[int, str]]:
    """Return the expected calls that were not made in this order: the index of each, and a line about it.

    Other calls may stand between them. A call that was made counts for one expected call only.
    """
    missing: list[tuple[int, str]] = []
    position = 0
    for index, one in enumerate(expected):
        place = next((at for at in range(position, len(calls)) if _is(one, calls[at])), None)
        if place is None:
            missing.append((index, _why_missing(one, calls, position)))
        else:
            position = place + 1
    return missing


def _is(expected: ExpectedCall, call: Call) -> bool:
    return call.tool == expected.tool and not call_mismatches(expected, call)


def _why_missing(expected: ExpectedCall, calls: Sequence[Call], position: int) -> str:
    wanted = str(Call(expected.tool, expected.arguments)) if expected.arguments else expected.tool
    if any(_is(expected, call) for call in calls[:position]):
        return f"expected the call {wanted} here, but it was made earlier"
    near = [call_mismatches(expected, call) for call in calls[position:] if call.tool == expected.tool]
    if near:
        nearest = min(near, key=len)
        return f"expected the call {wanted}: {'; '.join(nearest)}"
    made = ", ".join(call.tool for call in calls) or "none"
    return f"expected the call {wanted}; calls that were made: {made}"


def text_mismatches(expected: ExpectedText, text: str) -> list[str]:
    """Return which rules about a text it breaks, a line each."""
    return content_mismatches(expected.contains, expected.excludes, expected.matches, text)


def content_mismatches(contains: Iterable[str], excludes: Iterable[str], matches: str | None, text: str) -> list[str]:
    """Return what a text lacks, holds too much or does not match, a line each."""
    lines = [f"expected {shown(part)} in {shown(text)}" for part in contains if part not in text]
    lines += [f"did not expect {shown(part)} in {_around(text, part)}" for part in excludes if part in text]
    if matches is not None and compile_pattern(matches).search(_searchable(text)) is None:
        lines.append(f"expected a match of /{matches}/ in {shown(text)}")
    return lines


def _around(text: str, part: str) -> str:
    start = max(0, text.index(part) - 40)
    return shown(text[start : start + 80 + len(part)])


def _searchable(text: str) -> str:
    """RE2 reads UTF-8, which has no half surrogate pairs."""
    return text.encode("utf-8", "replace").decode("utf-8")


def short_diff(expected: str, actual: str, limit: int = 12) -> str:
    """Return how two texts differ as lines of a diff without its header, at most `limit` of them."""
    lines = [
        line.rstrip("\n") for line in difflib.unified_diff(expected.splitlines(), actual.splitlines(), lineterm="", n=1)
    ][2:]
    if not lines:
        return "they differ in how lines end"
    more = [f"… and {len(lines) - limit} lines more"] if len(lines) > limit else []
    return "\n".join([*lines[:limit], *more])

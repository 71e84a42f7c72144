"""Does what a trial left behind meet what its case expects? Pure: nothing is run and nothing is read here."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from engine.bundle.cases import BundleCase
from engine.discovery import CodeNode, error_count, language_of
from engine.manifest.case_model import ExpectedChange
from engine.run.testing.code import code_difference
from engine.run.testing.matching import content_mismatches, missing_calls, short_diff, text_mismatches
from engine.run.testing.results import Evidence, Failure

_KINDS = {"create": "created", "edit": "modified", "delete": "deleted"}
_ENDINGS = {"finished": "to finish", "failed": "to fail", "stopped": "to be stopped"}


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the trials of one case.

    Args:
        case: The case.
        node: The node that it runs on.
        files: The contents of its project by path, before.
    """

    case: BundleCase
    node: CodeNode
    files: Mapping[str, bytes]

    def failures(self, evidence: Evidence) -> list[Failure]:
        """Return the expectations that are not met, but for commands, in the order of the format."""
        expect = self.case.case.expect
        found = [*self._outcome(evidence), *self._calls(evidence)]
        if expect.text is not None:
            found += [self._failure(("text",), line) for line in text_mismatches(expect.text, evidence.text)]
        if expect.error is not None:
            found += [self._failure(("error",), line) for line in text_mismatches(expect.error, evidence.error or "")]
        # A task that ended otherwise than expected offers nothing: to go on about it would only hide why.
        if evidence.outcome == expect.outcome:
            for index, change in enumerate(expect.changes):
                found += self._change(index, change, evidence)
        return [*found, *self._bounds(evidence)]

    def _failure(self, path: tuple[str | int, ...], message: str, detail: str = "") -> Failure:
        what = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
        return Failure(what, " ".join(message.split("\n")), self.case.place("expect", *path), detail)

    def _outcome(self, evidence: Evidence) -> Iterator[Failure]:
        wanted = self.case.case.expect.outcome
        if evidence.outcome != wanted:
            why = evidence.error or evidence.reason
            message = f"expected the task {_ENDINGS[wanted]}, but it {_past(evidence.outcome)}: {why}"
            yield self._failure(("outcome",), message)

    def _calls(self, evidence: Evidence) -> Iterator[Failure]:
        expect = self.case.case.expect
        for index, line in missing_calls(expect.calls, evidence.calls):
            yield self._failure(("calls", index), line)
        for index, name in enumerate(expect.no_calls):
            made = next((call for call in evidence.calls if call.tool == name), None)
            if made is not None:
                yield self._failure(("no_calls", index), f"expected no call of {name}, got {made}")

    def _change(self, index: int, expected: ExpectedChange, evidence: Evidence) -> Iterator[Failure]:
        name = posixpath.normpath(expected.file) if expected.file else self.node.file_path
        change = next((one for one in evidence.changes if one.path == name), None)
        before = change.before if change else self.files.get(name)
        after = change.after if change else before
        kind = _KINDS[change.kind] if change else "unchanged"
        path = ("changes", index)
        if expected.kind is not None and expected.kind != kind:
            others = [one.path for one in evidence.changes if one.path != name]
            more = f"; changed files: {', '.join(others)}" if others else ""
            yield self._failure((*path, "kind"), f"expected {name} to be {expected.kind}, but it is {kind}{more}")
            return
        if after is None:
            if expected.kind is None or _has_content(expected):
                yield self._failure(path, f"expected something of {name}, but there is no such file")
            return
        for key, line, detail in self._content(name, expected, before, after):
            yield self._failure((*path, *key), line, detail)

    def _content(
        self, name: str, expected: ExpectedChange, before: bytes | None, after: bytes
    ) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
        """Yield what is wrong with a file's new content: the key, a line, and more lines."""
        text = after.decode("utf-8", "replace").replace("\r\n", "\n")
        for number, part in enumerate(expected.contains):
            yield from _keyed(("contains", number), content_mismatches([part], (), None, text), name)
        for number, part in enumerate(expected.excludes):
            yield from _keyed(("excludes", number), content_mismatches((), [part], None, text), name)
        yield from _keyed(("matches",), content_mismatches((), (), expected.matches, text), name)
        if expected.equals is not None and expected.equals != text:
            yield (
                ("equals",),
                f"{name} is not what was expected (- expected, + actual)",
                short_diff(expected.equals, text),
            )
        language = language_of(name)
        if expected.parses and language is not None and error_count(after, language):
            yield ("parses",), f"expected {name} to parse, but it has a syntax error", ""
        if expected.same_code_but is not None:
            problem = self._code_problem(name, expected, before, after)
            if problem:
                yield ("same_code_but",), problem, ""

    def _code_problem(self, name: str, expected: ExpectedChange, before: bytes | None, after: bytes) -> str | None:
        but = expected.same_code_but or ()
        language = language_of(name)
        if language is None:
            return f"{name} is in no language whose code can be compared"
        if before is None:
            return f"expected {name} to have the same code as before, but it is new"
        span = (self.node.start_byte, self.node.end_byte) if name == self.node.file_path else None
        difference = code_difference(before, after, language, but, span)
        allowed = f" (but for {', '.join(but)})" if but else ""
        return f"expected the code of {name} to stay the same{allowed}: {difference}" if difference else None

    def _bounds(self, evidence: Evidence) -> Iterator[Failure]:
        bounds = self.case.case.expect.at_most
        used = (
            ("turns", bounds.turns, evidence.turns),
            ("tokens", bounds.tokens, evidence.usage.total_tokens),
            ("diff_lines", bounds.diff_lines, evidence.diff_lines),
        )
        for name, bound, actual in used:
            if bound is not None and actual > bound:
                yield self._failure(
                    ("at_most", name), f"expected at most {bound} {name.replace('_', ' ')}, got {actual}"
                )


def _keyed(
    key: tuple[str | int, ...], lines: Iterable[str], name: str
) -> Iterator[tuple[tuple[str | int, ...], str, str]]:
    return ((key, f"{name}: {line}", "") for line in lines)


def _has_content(expected: ExpectedChange) -> bool:
    rules = (expected.contains, expected.excludes, expected.matches, expected.equals)
    return expected.parses or any(rules) or expected.same_code_but is not None


def _past(outcome: str) -> str:
    return "was stopped" if outcome == "stopped" else outcome

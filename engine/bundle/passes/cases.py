"""Cases: every file that `tests` names is read, and what its cases speak of exists."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.bundle.cases import BundleCase, CaseSource, case_files, read_case_file
from engine.bundle.draft import Draft
from engine.bundle.passes.layout import escapes
from engine.bundle.values import problem_of
from engine.diagnostics import Diagnostic, did_you_mean
from engine.manifest import LANGUAGES, Case
from engine.manifest.case_model import ExpectedCall
from engine.manifest.patterns import as_pattern, compile_pattern

_COLLECTION = (dict, list, tuple)


def run(draft: Draft) -> list[Diagnostic]:
    """Return the findings; fills in the draft's cases."""
    pattern = draft.manifest.tests if draft.sound("tests") else None
    if pattern is None or escapes(pattern):
        return []
    names = case_files(draft.source, pattern)
    if not names:
        message = f"tests: no file of the bundle matches '{pattern}'"
        return [Diagnostic("C007", message, draft.value("tests"), "add a file with cases, or leave 'tests' out")]
    findings: list[Diagnostic] = []
    seen: dict[str, str] = {}
    for name in names:
        text, problems = draft.source.text(name)
        findings += problems
        if text is None:
            continue
        source = read_case_file(text, draft.source.show(name))
        findings += source.typed.diagnostics
        for index, case in source.each():
            findings += _Checker(draft, source, index, case).run(seen)
    return findings


@dataclass(frozen=True, slots=True)
class _Checker:
    """Checks one case against its bundle."""

    draft: Draft
    source: CaseSource
    index: int
    case: Case

    def run(self, seen: dict[str, str]) -> Iterator[Diagnostic]:
        """Yield the findings; a case without any joins the draft's.

        Args:
            seen: Names of earlier cases, and where they stand.
        """
        span = self.source.document.positions.value(("cases", self.index, "name"))
        if self.case.name in seen:
            message = f"the case '{self.case.name}' is already given in {seen[self.case.name]}"
            yield Diagnostic("C001", message, span, "give one of the two another name")
            return
        seen[self.case.name] = f"{span.file}:{span.line}"
        yield from self._target()
        yield from self._paths()
        yield from self._params()
        yield from self._tools()
        yield from self._patterns()

    def _finding(self, code: str, message: str, path: tuple[str | int, ...], help_text: str) -> Diagnostic:
        return Diagnostic(code, message, self.source.document.positions.value(("cases", self.index, *path)), help_text)

    def _target(self) -> Iterator[Diagnostic]:
        case, files = self.case, self.draft.source.files
        yield from self._language()
        content = case.source.encode("utf-8", "replace") if case.source is not None else None
        if case.file is not None:
            name = posixpath.normpath(case.file)
            if escapes(case.file):
                message = f"the path '{case.file}' {escapes(case.file)}"
                yield self._finding("C008", message, ("file",), "name a file of the bundle, relative to it")
                return
            if name not in files:
                hint = did_you_mean(name, files)
                message = f"the file '{case.file}' does not exist in the bundle" + (f": {hint}" if hint else "")
                yield self._finding("C002", message, ("file",), "add the file, or mend the path")
                return
            yield from self.draft.source.text(name)[1]
            content = files[name].content
        if content is not None:
            self.draft.cases.append(BundleCase(case, content, self.source.document, self.index))

    def _language(self) -> Iterator[Diagnostic]:
        language, wanted = self.case.language, self.draft.manifest.nodes.languages
        if self.case.file is not None:
            return
        path = ("language",) if "language" in self.case.model_fields_set else ("source",)
        if language not in LANGUAGES:
            hint = did_you_mean(language, LANGUAGES)
            message = f"language '{language}' does not exist" + (f": {hint}" if hint else "")
            yield self._finding("R006", message, path, f"known: {', '.join(sorted(LANGUAGES))}")
        elif self.draft.sound("nodes") and wanted and language not in wanted:
            message = f"the case is in {language}, and the bundle takes only {', '.join(wanted)}"
            yield self._finding("C009", message, path, "give the snippet's language")

    def _paths(self) -> Iterator[Diagnostic]:
        case = self.case
        named: list[tuple[str | None, tuple[str | int, ...]]] = [(case.path, ("path",))]
        named += [(name, ("files", name)) for name in case.files]
        named += [(one.file, ("expect", "changes", at, "file")) for at, one in enumerate(case.expect.changes)]
        for name, path in named:
            problem = (escapes(name) or _no_file(name)) if name is not None else ""
            if problem:
                message = f"the path '{name}' {problem.replace('the bundle', 'the project')}"
                yield self._finding("C008", message, path, "name a file of the case's project, relative to it")

    def _params(self) -> Iterator[Diagnostic]:
        schemas = self.draft.manifest.params
        if not self.draft.sound("params"):
            return
        for name, value in self.case.params.items():
            if name not in schemas:
                if self.draft.sound("params", name):
                    hint = did_you_mean(name, schemas)
                    message = f"the bundle has no param '{name}'" + (f": {hint}" if hint else "")
                    yield self._finding("C003", message, ("params", name), _known("params", schemas))
            elif problem := problem_of(schemas[name], value):
                message = f"the param '{name}' is not valid: {problem}"
                yield self._finding("C003", message, ("params", name), "give a value that fits the param's schema")
        for name, schema in schemas.items():
            if "default" not in schema and name not in self.case.params:
                message = f"the param '{name}' has no default, and the case gives it no value"
                yield self._finding("C003", message, ("params",), "give it a value in the case's params")

    def _tools(self) -> Iterator[Diagnostic]:
        # A broken tool may be the one that is meant: names are only checked against a complete list.
        schemas = {schema.name: schema.parameters for schema in self.draft.schemas}
        if len(schemas) < len(self.draft.manifest.tools) or not self.draft.sound("tools"):
            return
        for index, name in enumerate(self.case.expect.no_calls):
            if name not in schemas:
                yield self._unknown_tool(name, ("expect", "no_calls", index), schemas)
        for index, call in enumerate(self.case.expect.calls):
            if call.tool in schemas:
                yield from self._arguments(index, call, schemas[call.tool])
            else:
                yield self._unknown_tool(call.tool, ("expect", "calls", index, "tool"), schemas)

    def _unknown_tool(self, name: str, path: tuple[str | int, ...], known: Mapping[str, Any]) -> Diagnostic:
        hint = did_you_mean(name, known)
        message = f"the bundle has no tool '{name}'" + (f": {hint}" if hint else "")
        return self._finding("C004", message, path, _known("tools", known))

    def _arguments(self, index: int, call: ExpectedCall, parameters: Mapping[str, Any]) -> Iterator[Diagnostic]:
        properties = parameters.get("properties", {})
        for name, value in call.arguments.items():
            path = ("expect", "calls", index, "arguments", name)
            if name not in properties:
                hint = did_you_mean(name, properties)
                message = f"the tool '{call.tool}' has no argument '{name}'" + (f": {hint}" if hint else "")
                yield self._finding("C006", message, path, _known("arguments", properties))
            elif as_pattern(value) is None and not isinstance(value, _COLLECTION):
                problem = problem_of({**properties[name], "$defs": parameters.get("$defs", {})}, value)
                if problem:
                    message = f"the argument '{name}' of '{call.tool}' can never be this: {problem}"
                    yield self._finding("C006", message, path, "expect a value that fits the tool's schema")

    def _patterns(self) -> Iterator[Diagnostic]:
        for pattern, path in _patterns(self.case):
            try:
                compile_pattern(pattern)
            except ValueError as error:
                message = f"the regular expression '{pattern}' does not compile: {error}"
                yield self._finding("C005", message, path, "write it in the syntax of RE2")


def _no_file(name: str) -> str:
    normal = posixpath.normpath(name)
    if normal == "." or name.endswith("/"):
        return "is a folder"
    parts = normal.split("/")
    return "belongs to git or to the engine" if parts[0] in (".git", ".engine") else ""


def _known(what: str, names: Mapping[str, Any]) -> str:
    return f"known {what}: {', '.join(names)}" if names else f"there are no {what}"


def _patterns(case: Case) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    """Yield the regular expressions of a case, and where each stands."""
    expect = case.expect
    texts: list[tuple[Any, tuple[str | int, ...]]] = [(expect.text, ("text",)), (expect.error, ("error",))]
    texts += [(one, ("changes", index)) for index, one in enumerate(expect.changes)]
    texts += [(one.result, ("calls", index, "result")) for index, one in enumerate(expect.calls)]
    for one, path in texts:
        if one is not None and one.matches is not None:
            yield one.matches, ("expect", *path, "matches")
    for index, call in enumerate(expect.calls):
        for found, path in _inside(call.arguments, ("expect", "calls", index, "arguments")):
            yield found, path


def _inside(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    pattern = as_pattern(value)
    if pattern is not None:
        yield pattern, path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _inside(item, (*path, key))

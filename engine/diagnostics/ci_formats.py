"""The formats of CI systems other than GitHub's: GitLab's code quality report, and JUnit XML.

GitLab's is described at https://docs.gitlab.com/ci/testing/code_quality/, JUnit's at https://github.com/testmoapp/junitxml.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from engine.diagnostics.core import Diagnostic

_SEVERITIES = {"error": "major", "warning": "minor"}
# XML 1.0 has no other characters, not even as references.
_OUTSIDE_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def gitlab_text(diagnostics: Sequence[Diagnostic]) -> str:
    """Return a code quality report; its paths are right when the engine is called at the root of the repository."""
    seen: Counter[str] = Counter()
    return json.dumps([_issue(item, seen) for item in diagnostics], indent=2) + "\n"


def _issue(item: Diagnostic, seen: Counter[str]) -> dict[str, object]:
    path = posixpath.normpath(item.span.file)
    # Without the line, which moves when something above is edited; equal findings are told apart by their order.
    mark = f"{item.code}\0{path}\0{item.message}"
    seen[mark] += 1
    fingerprint = hashlib.sha256(f"{mark}\0{seen[mark]}".encode(errors="surrogateescape")).hexdigest()
    return {
        "description": f"{item.code} {item.message}",
        "check_name": item.code,
        "fingerprint": fingerprint,
        "severity": _SEVERITIES[item.severity],
        "location": {"path": path, "lines": {"begin": item.span.line, "end": item.span.end_line}},
    }


def junit_text(diagnostics: Sequence[Diagnostic]) -> str:
    """Return JUnit XML: each finding is a failed test; without findings there is one that passed."""
    root = Element("testsuites", name="engine validate")
    count = str(len(diagnostics))
    suite = SubElement(root, "testsuite", name="engine validate", tests=count, failures=count, errors="0", skipped="0")
    for item in diagnostics:
        _failure(suite, item)
    if not diagnostics:
        suite.set("tests", "1")
        SubElement(suite, "testcase", name="no findings", classname="engine.validate")
    indent(root)
    return "<?xml version='1.0' encoding='utf-8'?>\n" + tostring(root, encoding="unicode") + "\n"


def _failure(suite: Element, item: Diagnostic) -> None:
    place = f"{item.span.file}:{item.span.line}:{item.span.column}"
    name = f"{item.code} {place}"
    line = str(item.span.line)
    file = xml_text(item.span.file)
    element = SubElement(suite, "testcase", name=xml_text(name), classname=file, file=file, line=line)
    failure = SubElement(element, "failure", message=xml_text(item.message), type=item.severity)
    failure.text = xml_text(f"{place}: {item.code} {item.message}\n{item.help or ''}")


def xml_text(text: str) -> str:
    """Return the text with what XML cannot hold replaced."""
    return _OUTSIDE_XML.sub("\N{REPLACEMENT CHARACTER}", text)

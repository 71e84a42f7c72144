"""Reports of test runs, whatever the names, replies and errors hold."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from xml.etree import ElementTree as ET

import pexpect
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_server import ScriptedServer
from test_cases_cli import BAD, GOOD
from test_cases_run import make, one

from engine.cli.cases_progress import trial_line
from engine.cli.cases_view import report_text
from engine.diagnostics import Span
from engine.run.testing import CaseKey, CaseResult, Combination, Evidence, Failure, Report, Trial
from engine.run.testing.as_json import report_json
from engine.run.testing.compare import baseline_of, compare
from engine.run.testing.junit import junit_xml
from engine.run.testing.matching import Call
from engine.workspace import Change

FEW = settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
TEXT = st.text(st.characters(), max_size=20)
NAMES = TEXT.filter(bool)
COMBINATIONS = st.builds(
    Combination, st.none() | NAMES, st.none() | st.just("none") | NAMES, st.none() | st.just("none") | NAMES
)
EVIDENCE = st.builds(
    Evidence,
    st.sampled_from(["finished", "failed", "stopped"]),
    TEXT,
    st.none() | TEXT,
    st.lists(st.builds(Call, NAMES, st.dictionaries(TEXT, TEXT, max_size=2), st.none() | TEXT), max_size=2).map(tuple),
    TEXT,
    TEXT,
    st.lists(st.builds(Change, st.just("a.py"), st.none(), st.binary(max_size=9)), max_size=1).map(tuple),
)
FAILURES = st.lists(st.builds(Failure, NAMES, TEXT, st.just(Span("f", 3)), TEXT), min_size=1, max_size=2).map(tuple)


@st.composite
def trials(draw: st.DrawFn, key: CaseKey, combination: Combination) -> Trial:
    state = draw(st.sampled_from(["passed", "failed", "error"]))
    failures = draw(FAILURES) if state == "failed" else ()
    error = draw(NAMES) if state == "error" else None
    return Trial(key, combination, 7, state, failures, error, 0.5, draw(st.none() | EVIDENCE))


@st.composite
def reports(draw: st.DrawFn) -> Report:
    cases = []
    names = [("b", draw(NAMES)), ("c", "same")]
    for combination in draw(st.lists(COMBINATIONS, min_size=1, max_size=3, unique=True)):
        for bundle, case in names:
            key = CaseKey(bundle, case, combination.name, 0)
            ran = draw(st.lists(trials(key, combination), max_size=3))
            cases.append(CaseResult(bundle, case, combination, 0.5, 3, Span(draw(NAMES), 2), tuple(ran)))
    return Report(tuple(cases), (), 1.0, complete=False)


def controls(line: str) -> list[str]:
    return [char for char in line if unicodedata.category(char) == "Cc" and char != "\t"]


@FEW
@given(reports())
def test_junit_is_xml_and_its_counts_are_right(report: Report) -> None:
    root = ET.fromstring(junit_xml(report).encode())
    for element in (root, *root):
        found = list(element.iter("testcase"))
        assert int(str(element.get("tests"))) == len(found)
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(str(element.get(name))) == sum(case.find(tag) is not None for case in found)
    assert int(str(root.get("failures"))) == report.count("failed")
    assert int(str(root.get("errors"))) == report.count("error")
    assert int(str(root.get("tests"))) == len(report.cases)


@FEW
@given(reports())
def test_json_is_json(report: Report) -> None:
    data = json.loads(json.dumps(report_json(report)))
    assert sum(data["summary"].values()) == len(report.judged)
    assert [case["case"] for case in data["cases"]] == [case.case for case in report.cases]


@FEW
@given(reports())
def test_nothing_in_a_report_drives_the_terminal(report: Report) -> None:
    text = report_text(report, color=False)
    lines = [trial_line(trial) for case in report.cases for trial in case.trials]
    for line in text.split("\n"):
        assert controls(line) == []
    for line in lines:
        plain = line.replace("\x1b[32m", "").replace("\x1b[31m", "").replace("\x1b[35m", "").replace("\x1b[0m", "")
        assert controls(plain) == []


@given(st.lists(COMBINATIONS, unique=True), st.data())
def test_a_baseline_is_of_the_same_model_and_never_of_a_baseline(known: list[Combination], data: st.DataObject) -> None:
    for combination in known:
        found = baseline_of(combination, known)
        assert found is None or (combination.baseline is None and found.baseline is not None)
        assert found is None or found.model == combination.model


@FEW
@given(reports())
def test_what_is_compared_was_judged_on_both_sides(report: Report) -> None:
    by_name = {(f"{case.bundle}: {case.case}", case.combination): case for case in report.cases}
    for row in compare(report):
        assert -1 <= row.interval.low <= row.difference <= row.interval.high <= 1
        if row.case is not None:
            for combination in (row.combination, row.baseline):
                case = by_name[row.case, combination]
                assert case.state in ("passed", "failed")
                assert len(case.trials) == case.planned


def test_on_a_terminal_there_is_a_bar(tmp_path: Path, server: ScriptedServer) -> None:
    make(tmp_path / "note", one(GOOD, repeats=3) + "\n" + one(BAD).replace("name: one", "name: two"))
    argv = ["-m", "engine", "test", "note", "--base-url", server.api, "--concurrency", "1"]
    child = pexpect.spawn(sys.executable, argv, cwd=str(tmp_path), encoding="utf-8", dimensions=(40, 120), timeout=60)
    child.expect("running cases")
    child.expect("failed.* note: two")
    child.expect("2 cases: 1 passed, 1 failed; 4 trials")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1

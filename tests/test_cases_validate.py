"""Files with cases are checked with their bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate
from test_cases_run import FIRST, MET, TESTED, make, one, write_cases

from engine.bundle import load_bundle, validate
from engine.bundle.cases import is_case_file
from engine.bundle.check import check_bundles
from engine.bundle.source import read_folder
from engine.manifest import read_yaml

TYPED = TESTED.replace("tools:", "params: {tone: {type: integer, minimum: 1}}\ntools:")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))


def found(bundle: Path, *, use_cache: bool = False) -> list[str]:
    """Return the findings as `file:line: code message`."""
    findings = validate([bundle], use_cache=use_cache)
    return [
        f"{Path(item.span.file).relative_to(bundle)}:{item.span.line}: {item.code} {item.message}" for item in findings
    ]


def test_good_cases_have_no_findings(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", MET.replace("[true]", '["true"]'))
    assert found(bundle) == []
    (case,) = load_bundle(bundle).cases
    assert case.name == "everything"
    assert case.target == FIRST.encode()
    assert case.place("expect", "changes", 0, "kind").line == 11


@pytest.mark.parametrize(
    ("cases", "finding"),
    [
        ("- {name: one, source: x", "tests/cases.yaml:4: Y001 "),
        ("- {name: one, name: two, source: x}", "tests/cases.yaml:3: Y002 the key 'name' is already given in line 3"),
        ("- {name: one, source: x, expects: {}}", "S001 unknown key 'expects' in cases[0]: did you mean 'expect'?"),
        ("- {name: one, source: [x]}", "S002 cases[0].source must be text, not a list"),
        ("- {source: x}", "S003 "),
        ("- {name: one, source: x, expect: {outcome: done}}", "S004 cases[0].expect.outcome is 'done', not one of"),
        ("- {name: one, source: x, repeats: 0}", "S005 cases[0].repeats ('0') must be at least 1"),
        ("- {name: one, source: x, file: a.py}", "S006 cases[0]: the keys source and file exclude each other"),
        ("- {name: one}", "tests/cases.yaml:3: S006 cases[0] needs one of the keys source, file"),
        ("- {name: one, file: a.py, language: python}", "S006 cases[0]: the keys "),
        ("- {name: one, source: x, expect: {commands: [[]]}}", "S005 cases[0].expect.commands[0] must not be empty"),
        ("- {name: one, source: x, language: pyton}", "R006 language 'pyton' does not exist: did you mean 'python'?"),
        ("- {name: one, source: x, language: go}", "C009 the case is in go, and the bundle takes only python"),
        (
            "- {name: one, file: tests/cases.yml}",
            "C002 the file 'tests/cases.yml' does not exist in the bundle: did you",
        ),
        ("- {name: one, file: ../a.py}", "C008 the path '../a.py' leaves the bundle"),
        ("- {name: one, source: x, path: a/../../b.py}", "C008 the path 'a/../../b.py' leaves the project"),
        ("- {name: one, source: x, path: .engine/events.db}", "C008 the path '.engine/events.db' belongs to git or to"),
        ("- {name: one, source: x, params: {tones: 1}}", "C003 the bundle has no param 'tones': did you mean 'tone'?"),
        (
            "- {name: one, source: x, params: {tone: 0}}",
            "C003 the param 'tone' is not valid: 0 is less than the minimum",
        ),
        ("- {name: one, source: x}", "C003 the param 'tone' has no default, and the case gives it no value"),
    ],
)
def test_findings(cases: str, finding: str, tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", cases, TYPED if "C003" in finding else TESTED)
    assert [line for line in found(bundle) if finding in line], found(bundle)


def test_what_no_schema_allows_can_never_come(tmp_path: Path) -> None:
    expect = "calls: [{tool: add_comment, arguments: {comment: %s}}]"
    good = ["x", "/^x{61}$/", "[x]"]
    for value, code in [*((value, None) for value in good), ("x" * 61, "C006"), ("7", "C006"), ("/(/", "C005")]:
        lines = found(make(tmp_path / "note", one(expect % (f'"{value}"' if "/" in value else value))))
        assert [line.split()[1] for line in lines] == ([code] if code else [])


def test_names_are_unique_over_files_and_a_broken_file_hides_no_other(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one(""))
    write_cases(bundle, one("") + "\n" + one("no_calls: [gone]").replace("name: one", "name: two"), "more.yaml")
    (bundle / "tests/bad.yaml").write_text("cases: [")
    (bundle / "tests/worse.yaml").write_bytes(b"\xff")
    assert [line.split(" ")[:2] for line in found(bundle)] == [
        ["tests/bad.yaml:2:", "Y001"],
        ["tests/more.yaml:3:", "C001"],
        ["tests/more.yaml:8:", "C004"],
        ["tests/worse.yaml:1:", "L006"],
    ]


def test_a_broken_manifest_does_not_blame_its_cases(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one("calls: [{tool: add_comment}]", params={"tone": 1}), TYPED)
    manifest = bundle / "bundle.yaml"
    manifest.write_text(TYPED.replace("type: integer", "tipe: integer").replace("add_comment.pym", "gone.pym"))
    assert {line.split()[1] for line in found(bundle)} == {"L003", "R011"}
    manifest.write_text(TYPED.replace("{tone: {type: integer, minimum: 1}}", "[]"))
    assert {line.split()[1] for line in found(bundle)} == {"S002"}


def test_findings_are_cached_and_follow_the_files(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one("no_calls: [gone]"))
    first = found(bundle, use_cache=True)
    assert found(bundle, use_cache=True) == first != []
    write_cases(bundle, one(""))
    assert found(bundle, use_cache=True) == []


def test_unsaved_cases_are_checked_as_they_are(tmp_path: Path) -> None:
    source = read_folder(make(tmp_path / "note", one("")))
    edited = source.edited(
        {"tests/cases.yaml": b"format: 1\ncases: [{name: one, source: x, expect: {no_calls: [y]}}]\n"}
    )
    saved, unsaved = check_bundles([source, edited])
    assert saved.diagnostics == ()
    assert [item.code for item in unsaved.diagnostics] == ["C004"]


def test_no_case_file_matches(tmp_path: Path) -> None:
    bundle = make(tmp_path / "note", one(""), TESTED.replace("tests/*.yaml", "test/**/*.yaml"))
    assert [line.split()[1] for line in found(bundle)] == ["C007"]
    assert load_bundle(bundle).cases == ()


@pytest.mark.parametrize(
    ("name", "pattern", "is_one"),
    [
        ("tests/a.yaml", "tests/*.yaml", True),
        ("tests/a.yaml", "./tests/*.yaml", True),
        ("x/tests/a.yaml", "tests/*.yaml", False),
        ("tests/b/a.yaml", "tests/*.yaml", False),
        ("tests/b/a.yaml", "tests/**/*.yaml", True),
        ("bundle.yaml", "**/*.yaml", False),
        ("tests/recordings/a.json", "tests/**", False),
        ("tests/a.json", "tests/**", True),
        ("tests/a.yaml", None, False),
    ],
)
def test_which_files_hold_cases(name: str, pattern: str | None, is_one: bool) -> None:
    assert is_case_file(name, pattern) == is_one


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_mutated_case_file_makes_the_pass_raise(tmp_path: Path, data: st.DataObject) -> None:
    bundle = make(tmp_path / "note", MET)
    whole = read_yaml((bundle / "tests/cases.yaml").read_text(), "f").data
    text = json.dumps(mutate(data, whole), ensure_ascii=False)
    (checked,) = check_bundles([read_folder(bundle).edited({"tests/cases.yaml": text.encode("utf-8", "replace")})])
    assert all("\n" not in item.message for item in checked.diagnostics)
    assert all(item.span.file.endswith("cases.yaml") for item in checked.diagnostics)

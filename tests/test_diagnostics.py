"""Renderers, the code table and its pages."""

import json
import re
from importlib.resources import files
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.diagnostics import CODES, FORMATS, Diagnostic, Edit, Span, did_you_mean, page, render

SOURCE = "format: 1\nname: no\nversion: é1.0\n"
FINDINGS = (
    Diagnostic(
        "Y004",
        "name: plain no is false in YAML 1.1 and text in YAML 1.2",
        Span("b/bundle.yaml", 2, 7, 2, 9),
        "write false, or quote it",
        Edit(Span("b/bundle.yaml", 2, 7, 2, 9), '"no"'),
    ),
    Diagnostic("T009", "no result", Span("b/x.pym", 1, 1)),
)


def test_full_shows_the_source_and_a_caret() -> None:
    text = render(FINDINGS, "full", sources={"b/bundle.yaml": SOURCE, "b/x.pym": ""})
    assert text == (
        "error[Y004]: name: plain no is false in YAML 1.1 and text in YAML 1.2\n"
        " --> b/bundle.yaml:2:7\n"
        "  |\n"
        "1 | format: 1\n"
        "2 | name: no\n"
        "  |       ^^\n"
        "3 | version: é1.0\n"
        "  |\n"
        "  = help: write false, or quote it\n"
        "  = fix: engine validate --fix does it\n"
        "\n"
        "warning[T009]: no result\n"
        " --> b/x.pym:1:1\n"
        "  |\n"
        "1 |\n"
        "  | ^\n"
        "  |\n"
        "  = help: engine explain T009\n"
        "\n"
    )


def test_full_reads_files_and_survives_missing_ones(tmp_path) -> None:
    path = tmp_path / "bundle.yaml"
    path.write_text("a: b\n", encoding="utf-8")
    text = render([Diagnostic("S001", "m", Span(str(path), 1, 1, 1, 2))], "full")
    assert "1 | a: b" in text
    assert "S001" in render([Diagnostic("S001", "m", Span(str(tmp_path / "none"), 3, 1))], "full")


def test_carets_respect_wide_characters_and_tabs() -> None:
    item = Diagnostic("S001", "m", Span("f", 1, 4, 1, 5))
    text = render([item], "full", sources={"f": "\t漢x!"})
    line, caret = text.splitlines()[3:5]
    assert line == "1 |     漢x!"
    assert caret == "  |        ^"  # tab 4 cells, 漢 2, x 1


def test_long_lines_are_cut_around_the_place() -> None:
    item = Diagnostic("S001", "m", Span("f", 1, 5001, 1, 5002))
    lines = render([item], "full", sources={"f": "a" * 5000 + "X" + "b" * 5000}).splitlines()
    assert all(len(line) < 200 for line in lines)
    assert lines[3][lines[4].index("^")] == "X"


def test_color_only_adds_escapes() -> None:
    sources = {"b/bundle.yaml": SOURCE, "b/x.pym": ""}
    for format_ in ("full", "concise"):
        colored = render(FINDINGS, format_, color=True, sources=sources)
        assert "\x1b[" in colored
        assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render(FINDINGS, format_, sources=sources)


def test_concise_is_one_line_per_finding() -> None:
    assert render(FINDINGS, "concise").splitlines()[1] == "b/x.pym:1:1: T009 no result"


def test_control_characters_cannot_reach_the_terminal() -> None:
    evil = Diagnostic("S001", "key '\x1b]0;pwned\x07\n'", Span("a\x1b[2Jb", 1, 1), "h\x1b[0m")
    for format_ in ("full", "concise"):
        text = render([evil], format_, sources={"a\x1b[2Jb": "x\x1b[31m"})
        assert "\x1b" not in text
        assert "\x07" not in text


def test_json_has_the_stable_fields() -> None:
    first, second = json.loads(render(FINDINGS, "json"))
    assert list(first) == ["code", "severity", "message", "file", "location", "end_location", "help", "url", "fix"]
    assert first["location"] == {"line": 2, "column": 7}
    assert first["fix"]["content"] == '"no"'
    assert second["severity"] == "warning"
    assert second["fix"] is None
    assert json.loads(render([], "json")) == []


def test_github_escapes_data_and_properties() -> None:
    item = Diagnostic("S001", "100% bad,\nreally: yes", Span("a,b:c%.yaml", 2, 3))
    line = render([item], "github")
    assert line == (
        "::error file=a%2Cb%3Ac%25.yaml,line=2,endLine=2,col=3,endColumn=3,title=engine (S001)"
        "::a,b:c%25.yaml:2:3: S001 100%25 bad,%0Areally: yes\n"
    )


def test_sarif_has_the_structure_of_2_1_0() -> None:
    log = json.loads(render(FINDINGS, "sarif"))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = run["tool"]["driver"]
    assert driver["name"] == "engine"
    assert run["columnKind"] == "unicodeCodePoints"
    for result in run["results"]:
        rule = driver["rules"][result["ruleIndex"]]
        assert rule["id"] == result["ruleId"]
        assert result["level"] == rule["defaultConfiguration"]["level"]
        assert rule["help"]["text"]
        region = result["locations"][0]["physicalLocation"]["region"]
        assert region["startLine"] >= 1
        assert (region["endLine"], region["endColumn"]) >= (region["startLine"], region["startColumn"])
    change = run["results"][0]["fixes"][0]["artifactChanges"][0]
    assert change["replacements"][0]["insertedContent"]["text"] == '"no"'


def test_gitlab_tells_equal_findings_apart_and_knows_them_again() -> None:
    first, second = Diagnostic("S001", "m", Span("a//b.yaml", 3)), Diagnostic("P005", "w", Span("b", 7, 2, 9, 1))
    report = json.loads(render([first, first, second], "gitlab"))
    assert report[0]["location"] == {"path": "a/b.yaml", "lines": {"begin": 3, "end": 3}}
    assert report[2]["location"]["lines"] == {"begin": 7, "end": 9}
    assert [item["check_name"] for item in report] == ["S001", "S001", "P005"]
    assert len({item["fingerprint"] for item in report}) == 3
    moved = json.loads(render([Diagnostic("S001", "m", Span("a/b.yaml", 4))], "gitlab"))
    assert moved[0]["fingerprint"] == report[0]["fingerprint"]
    assert {item["severity"] for item in json.loads(render(FINDINGS, "gitlab"))} == {"major", "minor"}
    assert json.loads(render([], "gitlab")) == []


def test_junit_is_well_formed_and_counts() -> None:
    root = ET.fromstring(render([*FINDINGS, Diagnostic("S001", "\x00 <&>", Span("f"))], "junit"))
    (suite,) = root
    assert (suite.get("tests"), suite.get("failures")) == ("3", "3")
    assert [case.get("line") for case in suite] == ["2", "1", "1"]
    assert "\ufffd <&>" in (suite[2][0].text or "")
    (passed,) = ET.fromstring(render([], "junit")).iter("testcase")
    assert list(passed) == []


def test_a_certain_repair_is_announced() -> None:
    text = render(FINDINGS, "full", sources={})
    assert text.count("fix: engine validate --fix does it") == sum(item.fix is not None for item in FINDINGS) == 1


def test_sarif_quotes_paths_as_uris() -> None:
    log = json.loads(render([Diagnostic("S001", "m", Span("a b/ü.yaml"))], "sarif"))
    location = log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "a%20b/%C3%BC.yaml"


@given(st.text(), st.text(), st.integers(1, 20), st.integers(1, 20), st.integers(0, 20))
def test_no_text_breaks_a_renderer(source: str, message: str, line: int, column: int, width: int) -> None:
    item = Diagnostic("S001", message, Span("f", line, column, line, column + width), message or None)
    for format_ in FORMATS:
        assert render([item], format_, sources={"f": source})


def test_every_code_has_exactly_one_page() -> None:
    names = {item.name for item in files("engine.diagnostics").joinpath("pages").iterdir()}
    assert names == {f"{code}.md" for code in CODES}


@pytest.mark.parametrize("code", sorted(CODES))
def test_pages_say_what_to_do(code: str) -> None:
    text = page(code)
    assert text.startswith(f"# {code} {CODES[code].name}")
    assert "## Example" in text
    assert "## Mend" in text
    assert "```" in text


def test_rows_are_well_formed() -> None:
    assert len({row.name for row in CODES.values()}) == len(CODES)
    for code, row in CODES.items():
        assert code == row.id
        assert re.fullmatch(r"[LXYSRPTGAC]\d{3}", code)
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row.name)
        assert row.summary.endswith(".")


def test_page_of_an_unknown_code() -> None:
    with pytest.raises(KeyError):
        page("Z999")


def test_did_you_mean() -> None:
    assert did_you_mean("promts", ["prompts", "params"]) == "did you mean 'prompts'?"
    assert did_you_mean("zzz", ["prompts"]) is None

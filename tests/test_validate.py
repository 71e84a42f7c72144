"""`engine validate`, `explain`, `schema`, `bundles`; every bad bundle; the findings cache."""

import json
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import mutate

from engine.bundle import Catalog, find_bundles, validate, validation
from engine.bundle.cache import FindingsCache
from engine.bundle.check import PASSES
from engine.cli import cli
from engine.diagnostics import CODES, FORMATS
from engine.manifest import read_yaml

WHOLE = Path(__file__).parent / "data" / "full_bundle.yaml"
BAD = Path(__file__).parent / "bad_bundles"
CASES = sorted(path.name for path in BAD.iterdir())
MANIFEST = """\
format: 1
name: good
description: Does one thing.
model: {plugin: qwen}
prompts: {user: user.md.j2}
tools: [t.pym]
"""
TOOL = '"""Do nothing."""\nresult = True\nresult\n'


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))


def make(folder: Path, manifest: str = MANIFEST, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bundle.yaml").write_text(manifest, encoding="utf-8")
    for name, text in {"t.pym": TOOL, "user.md.j2": "{{ node.text }}\n", **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def engine(*args: str) -> Result:
    return CliRunner().invoke(cli, list(args), standalone_mode=False)


def lines(findings, root: Path) -> list[str]:
    shown = [
        f"{os.path.relpath(item.span.file, root).replace(os.sep, '/')}:{item.span.line}:{item.span.column}: {item.code}"
        for item in findings
    ]
    return sorted(shown)


# -- every code has a bad bundle


def test_every_code_has_a_bad_bundle() -> None:
    assert {name[:4] for name in CASES} == set(CODES)


@pytest.mark.parametrize("name", CASES)
def test_bad_bundle(name: str, tmp_path) -> None:
    folder = tmp_path / name
    shutil.copytree(BAD / name, folder)
    wanted = (folder / "expected.txt").read_text(encoding="utf-8").splitlines()
    for line in [line for line in wanted if line.startswith("grow:")]:
        _, file, size = line.split()
        (folder / file).write_text("x" * int(size), encoding="utf-8")
        wanted.remove(line)
    findings = Catalog.load([folder]).diagnostics if name.startswith("R013") else validate([folder])
    assert lines(findings, folder) == sorted(wanted)
    beside = {"Y001"} if name.startswith("X004") else set()  # what is wrong with the parent is said as well
    assert {line.split()[-1] for line in wanted} - beside == {name[:4]}
    assert all("\n" not in item.message and item.message for item in findings)


def test_bad_bundles_all_at_once(tmp_path) -> None:
    findings = validate([BAD])
    assert findings == sorted(findings, key=lambda item: item.sort_key)
    codes = {item.code for item in findings}
    assert codes >= set(CODES) - {"L001", "L007", "R013"}


# -- all findings in one go


def test_independent_findings_come_together(tmp_path) -> None:
    manifest = MANIFEST.replace("name: good", "name: no").replace(
        "tools: [t.pym]", "tools: [t.pym, gone.pym, ../x.pym, 7]"
    )
    manifest += 'grammar: {strategy: typped}\nnodes: {when: "nod.x"}\nloop: {max_turns: 0}\nextra: 1\n'
    script = TOOL.replace("result = True", "import subprocess")
    folder = make(tmp_path / "b", manifest, **{"t.pym": script, "user.md.j2": "{{ nod.text }}"})
    found = [line.split("/")[-1] for line in lines(validate([folder]), folder)]
    assert found == [
        "bundle.yaml:10:1: S001",
        "bundle.yaml:2:7: Y004",
        "bundle.yaml:6:16: L003",
        "bundle.yaml:6:26: L004",
        "bundle.yaml:6:36: S002",
        "bundle.yaml:7:21: G001",
        "bundle.yaml:8:15: R009",
        "bundle.yaml:9:19: S005",
        "t.pym:2:8: T003",
        "user.md.j2:1:4: P002",
    ]


def test_the_passes_have_one_stated_order() -> None:
    names = [step.name for step in PASSES]
    assert names == ["layout", "schema", "references", "params", "prompts", "tools", "grammar", "permissions", "cases"]


def test_a_script_used_twice_is_reported_once(tmp_path) -> None:
    manifest = MANIFEST.replace("[t.pym]", "[t.pym, {path: t.pym, name: other}]")
    folder = make(tmp_path / "b", manifest, **{"t.pym": "x = 1\n"})
    assert [item.code for item in validate([folder])] == ["T009"]


# -- paths


def test_missing_and_empty_paths_are_findings(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x", encoding="utf-8")
    paths = [tmp_path / "gone", tmp_path / "empty", tmp_path / "file.txt", Path("bad\0name")]
    assert [item.code for item in validate(paths)] == ["L001"] * 4


def test_a_manifest_a_folder_and_its_parent_are_the_same_bundle(tmp_path) -> None:
    folder = make(tmp_path / "b", MANIFEST + "x: 1\n")
    paths = [folder, folder / "bundle.yaml", tmp_path]
    assert len(validate(paths)) == 1
    assert validation(paths).bundles == 1


def test_bundles_are_found_recursively_in_a_stable_order(tmp_path) -> None:
    for name in ("b/x", "a", "c/d/e", ".git/hidden", "node_modules/n"):
        make(tmp_path / name)
    assert [path.relative_to(tmp_path).as_posix() for path in find_bundles([tmp_path])] == ["a", "b/x", "c/d/e"]


def test_bundle_yml_is_a_manifest(tmp_path) -> None:
    folder = make(tmp_path / "b")
    (folder / "bundle.yaml").rename(folder / "bundle.yml")
    assert validate([folder]) == []


def test_symlinks_that_leave_the_bundle(tmp_path) -> None:
    secret = tmp_path / "secret.pym"
    secret.write_text(TOOL, encoding="utf-8")
    folder = make(tmp_path / "b", MANIFEST.replace("t.pym", "link.pym"))
    (folder / "link.pym").symlink_to(secret)
    assert [(item.code, Path(item.span.file).name) for item in validate([folder])] == [("L004", "link.pym")]


def test_symlinked_folders_that_leave_the_bundle(tmp_path) -> None:
    (tmp_path / "bundle-evil").mkdir()
    (tmp_path / "bundle-evil" / "t.pym").write_text(TOOL, encoding="utf-8")
    folder = make(tmp_path / "bundle", MANIFEST.replace("t.pym", "tools/t.pym"))
    (folder / "tools").symlink_to(tmp_path / "bundle-evil")
    assert [item.code for item in validate([folder])] == ["L004"]


def test_symlinks_inside_the_bundle_work_and_loops_end(tmp_path) -> None:
    folder = make(tmp_path / "b", MANIFEST.replace("t.pym", "tools/t.pym"), **{"real/t.pym": TOOL})
    (folder / "tools").symlink_to("real")
    (folder / "loop").symlink_to(".")
    (folder / "real" / "up").symlink_to("..")
    assert validate([folder]) == []
    (folder / "dangling").symlink_to("self")
    (folder / "self").symlink_to("dangling")
    assert {item.code for item in validate([folder])} == {"L006"}


def test_odd_files_do_not_hang(tmp_path) -> None:
    folder = make(tmp_path / "b")
    os.mkfifo(folder / "pipe")
    assert [item.code for item in validate([folder])] == ["L006"]


@pytest.mark.parametrize(
    "value", ["/etc/passwd", "../x", "a/../../x", "C:/x", "~/x", "a\\\\b", "/", "..", "prompts/../../b/user.md.j2"]
)
def test_paths_that_leave_the_bundle(tmp_path, value: str) -> None:
    folder = make(tmp_path / "b", MANIFEST.replace("user.md.j2", f'"{value}"'))
    assert [item.code for item in validate([folder])] == ["L004"]


def test_a_file_name_that_is_not_utf8(tmp_path) -> None:
    folder = make(tmp_path / "b", MANIFEST + "x: 1\n")
    (folder / os.fsdecode(b"bad\xff.md")).write_text("{{ x }}", encoding="utf-8")
    assert [item.code for item in validate([folder])] == ["S001"]
    odd = make(tmp_path / os.fsdecode(b"odd\xff"), MANIFEST + "x: 1\n")
    for format_ in FORMATS:
        assert engine("validate", str(odd), "--output-format", format_).return_value == 1


def test_prompt_findings_stand_in_the_included_file(tmp_path) -> None:
    prompt = '{% include "parts/rules.md" %}'
    folder = make(tmp_path / "b", **{"user.md.j2": prompt, "parts/rules.md": "\n{{ nod }}\n"})
    assert lines(validate([folder]), folder) == ["parts/rules.md:2:4: P002"]


# -- the command line


def test_clean_bundles_exit_0(tmp_path) -> None:
    result = engine("validate", str(make(tmp_path / "b")))
    assert result.return_value == 0
    assert result.stdout == ""
    assert result.stderr == "0 errors in 1 bundle\n"


def test_errors_exit_1_and_go_to_stdout(tmp_path) -> None:
    folder = make(tmp_path / "b", MANIFEST + "x: 1\n")
    result = engine("validate", str(folder), "--output-format", "concise")
    assert result.return_value == 1
    assert result.stdout == f"{folder}/bundle.yaml:7:1: S001 unknown key 'x' in the top level\n"
    assert result.stderr == "1 error in 1 bundle\n"


def test_warnings_exit_1_only_when_strict(tmp_path) -> None:
    folder = make(tmp_path / "b", **{"t.pym": "result = 1\n"})
    assert engine("validate", str(folder)).return_value == 0
    result = engine("validate", str(folder), "--strict")
    assert result.return_value == 1
    assert result.stderr == "1 warning in 1 bundle\n"


def test_quiet_leaves_the_summary_out(tmp_path) -> None:
    assert engine("--quiet", "validate", str(make(tmp_path / "b"))).stderr == ""


def test_full_output_shows_the_place(tmp_path) -> None:
    folder = make(tmp_path / "b", MANIFEST.replace("name: good", "name: no"))
    text = engine("validate", str(folder)).stdout
    assert "error[Y004]: name: plain no is false" in text
    assert "2 | name: no\n  |       ^^" in text
    assert "= help: write false, or quote it" in text


@pytest.mark.parametrize("format_", ["json", "sarif"])
def test_machine_formats_are_json(tmp_path, format_: str) -> None:
    result = engine("validate", str(make(tmp_path / "b", MANIFEST + "x: 1\n")), "--output-format", format_)
    assert json.loads(result.stdout)


def test_paths_are_shown_as_typed(tmp_path, monkeypatch) -> None:
    make(tmp_path / "bundles" / "b", MANIFEST + "x: 1\n")
    monkeypatch.chdir(tmp_path)
    for typed, shown in (
        (".", "bundles/b/bundle.yaml"),
        ("bundles", "bundles/b/bundle.yaml"),
        ("bundles/b/", "bundles/b/bundle.yaml"),
    ):
        assert engine("validate", typed, "--output-format", "concise").stdout.startswith(f"{shown}:7:1: ")
    monkeypatch.chdir(tmp_path / "bundles" / "b")
    assert engine("validate", "--output-format", "concise").stdout.startswith("bundle.yaml:7:1: ")


def test_usage_errors_raise_for_main(tmp_path) -> None:
    import click

    result = engine("validate", "--output-format", "xml")
    assert isinstance(result.exception, click.UsageError)


def test_explain(tmp_path) -> None:
    assert "# Y004 yaml-surprise" in engine("explain", "y004").stdout
    assert "# Y004 yaml-surprise" in engine("explain", "yaml-surprise").stdout
    listed = engine("explain").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(CODES)
    unknown = engine("explain", "S0001")
    assert "did you mean 'S001'?" in str(unknown.exception)


def test_schema() -> None:
    assert json.loads(engine("schema").stdout)["title"] == "bundle.yaml"
    assert json.loads(engine("schema", "engine").stdout)["title"] == "engine.yaml"


def test_bundles_lists_valid_and_broken(tmp_path, monkeypatch) -> None:
    make(tmp_path / "bundles" / "a")
    make(tmp_path / "bundles" / "b", MANIFEST.replace("name: good", "name: broken") + "x: 1\n")
    make(tmp_path / "bundles" / "c", "[")
    monkeypatch.chdir(tmp_path)
    result = engine("bundles", "--json")
    assert result.return_value == 1
    rows = json.loads(result.stdout)
    assert [(row["path"], row["name"], row["valid"]) for row in rows] == [
        ("bundles/a", "good", True),
        ("bundles/b", "broken", False),
        ("bundles/c", "c", False),
    ]
    assert rows[0]["tools"] == ["t"]
    table = engine("bundles", "bundles").stdout
    assert "good" in table
    assert "no: 1 error" in table


# -- the cache


def test_unchanged_bundles_come_from_the_cache(tmp_path) -> None:
    folder = make(tmp_path / "b", MANIFEST + "x: 1\n", **{"t.pym": "1 + 'a'\n"})
    first = validate([folder])
    file = next((tmp_path / "cache").glob("findings-*.db"))
    with sqlite3.connect(file) as database:
        database.execute("UPDATE findings SET value = replace(value, 'unknown key', 'remembered key')")
    assert [item.message.split()[0] for item in validate([folder])] == ["remembered", first[1].message.split()[0]]
    assert validate([folder], use_cache=False) == first


@pytest.mark.parametrize("file", ["bundle.yaml", "t.pym", "user.md.j2", "new.md"])
def test_any_change_is_seen(tmp_path, file: str) -> None:
    folder = make(tmp_path / "b", **{"user.md.j2": "{% include 'new.md' %}", "new.md": "x"})
    assert validate([folder]) == []
    (folder / file).write_text({"bundle.yaml": "x: 1\n", "t.pym": "1 +"}.get(file, "{{ nope }}"), encoding="utf-8")
    assert validate([folder]) != []


def test_a_removed_file_is_seen(tmp_path) -> None:
    folder = make(tmp_path / "b")
    assert validate([folder]) == []
    (folder / "t.pym").unlink()
    assert [item.code for item in validate([folder])] == ["L003"]


@pytest.mark.parametrize("damage", [b"", b"garbage" * 1000, None])
def test_a_broken_cache_costs_only_time(tmp_path, damage) -> None:
    folder = make(tmp_path / "b", MANIFEST + "x: 1\n")
    first = validate([folder])
    (file,) = (tmp_path / "cache").glob("findings-*.db")
    if damage is None:
        with sqlite3.connect(file) as database:
            database.execute("UPDATE findings SET value = '[[1,2]]'")
    else:
        file.write_bytes(damage)
    assert validate([folder]) == first
    assert validate([folder]) == first


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "file" / "below"))
    folder = make(tmp_path / "b", MANIFEST + "x: 1\n")
    assert [item.code for item in validate([folder])] == ["S001"]


def test_the_cache_is_bounded(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("engine.bundle.cache.MAX_ROWS", 3)
    store = FindingsCache(tmp_path / "small")
    store.store({str(number): () for number in range(5)})
    assert set(store.load(map(str, range(5)))) == {"2", "3", "4"}


def test_no_cache_writes_nothing(tmp_path) -> None:
    assert engine("validate", str(make(tmp_path / "b")), "--no-cache").return_value == 0
    assert not (tmp_path / "cache").exists()


# -- nothing makes a traceback


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(max_size=200))
def test_arbitrary_files_never_raise(tmp_path, manifest: bytes, script: bytes, prompt: bytes) -> None:
    folder = tmp_path / "fuzz"
    folder.mkdir(exist_ok=True)
    (folder / "bundle.yaml").write_bytes(manifest)
    assert validate([folder], use_cache=False)
    (folder / "bundle.yaml").write_text(MANIFEST, encoding="utf-8")
    (folder / "t.pym").write_bytes(script)
    (folder / "user.md.j2").write_bytes(prompt)
    assert all(item.span.line >= 1 for item in validate([folder], use_cache=False))


@settings(
    max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.data())
def test_no_mutated_bundle_makes_a_pass_raise(tmp_path, data: st.DataObject) -> None:
    folder = tmp_path / "fuzz"
    if not folder.exists():
        script = "from grail import Input\nsource: str = Input('source')\ndocstring: str = Input('docstring')\nsource\n"
        scripts = {"tools/write_docstring.pym": script, "tools/read_type_hints.pym": TOOL}
        make(folder, **scripts, **{"prompts/system.md.j2": "{{ params.style }}", "context/style_guide.pym": TOOL})
    whole = read_yaml(WHOLE.read_text(encoding="utf-8"), "f").data
    text = json.dumps(mutate(data, whole), ensure_ascii=False)
    (folder / "bundle.yaml").write_text(text, encoding="utf-8")
    assert validate([folder])  # at least: tools of kinds that do not run yet

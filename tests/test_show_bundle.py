"""`engine show-bundle`: a manifest as written, or merged with all defaults, and where each value was written."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import yaml
from extends_parts import CHILD, FILES, base, child, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import TEXT, VALUES
from test_cli import engine

from engine.bundle import load_bundle
from engine.bundle.extends import show_manifest, to_yaml
from engine.bundle.extends.resolved import Resolved, leaves, resolve
from engine.bundle.source import read_folder
from engine.diagnostics import Span
from engine.manifest import json_schema, read_manifest, read_yaml

BUNDLES = sorted(path.parent for path in (Path(__file__).parent.parent / "bundles").glob("*/bundle.yaml"))
WHOLE = (Path(__file__).parent / "data" / "full_bundle.yaml").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "bundles").mkdir()
    monkeypatch.chdir(tmp_path)


# -- the command


def test_as_written() -> None:
    base(Path("bundles/base"))
    child(Path("bundles/child"), "# a comment\n")
    shown = engine("show-bundle", "child")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == CHILD + "# a comment\n"
    assert engine("show-bundle", "bundles/child/bundle.yaml").stdout == shown.stdout


def test_resolved_with_the_origin_of_each_value() -> None:
    base(Path("bundles/base"))
    child(Path("bundles/child"), "limits: {seconds: 9}\ntools: [{name: remark, description: Say.}]\ncontext: null\n")
    shown = engine("show-bundle", "child", "--origin")
    assert shown.returncode == 0
    lines = dict(line.split("  # ") for line in shown.stdout.splitlines() if "#" in line)
    origins = {key.strip(): value for key, value in lines.items()}
    assert origins["format: 1"] == "bundles/child/bundle.yaml:1"
    assert origins["name: child"] == "bundles/child/bundle.yaml:3"
    assert origins["description: Does one thing."] == "bundles/base/bundle.yaml:3"
    assert origins["seconds: 9"] == "bundles/child/bundle.yaml:4"
    assert origins["tool_calls: 50"] == "default"
    assert origins["- path: tools/note.pym"] == "bundles/base/bundle.yaml:11"
    assert origins["description: Say."] == "bundles/child/bundle.yaml:5"
    assert origins["seconds: 1"] == "bundles/base/bundle.yaml:11"
    assert origins["enum: [plain, rich]"] == "bundles/base/bundle.yaml:6"
    assert "extends" not in shown.stdout
    assert len({line.rindex("# ") for line in shown.stdout.splitlines() if "  # " in line}) == 1


def test_json() -> None:
    base(Path("bundles/base"))
    child(Path("bundles/child"))
    shown = json.loads(engine("show-bundle", "bundles/child", "--resolved", "--json").stdout)
    assert shown["manifest"]["model"]["plugin"] == "qwen"
    assert shown["origin"]["model.plugin"] == {"file": "bundles/base/bundle.yaml", "line": 4, "column": 17}
    assert shown["origin"]["tools[0].path"] == {"file": "bundles/base/bundle.yaml", "line": 10, "column": 5}
    assert shown["origin"]["loop.max_turns"] == "default"
    written = json.loads(engine("show-bundle", "bundles/child", "--json").stdout)
    assert written["manifest"] == {"format": 1, "extends": "../base", "name": "child"}
    assert written["origin"]["extends"] == {"file": "bundles/child/bundle.yaml", "line": 2, "column": 10}


def test_findings_are_shown_beside_what_is_there() -> None:
    base(Path("bundles/base"))
    child(Path("bundles/child"), "limits: {seconds: many}\nlop: 1\ntools: [7]\nmodel: {plugin: null}\n")
    shown = engine("show-bundle", "child", "--resolved")
    assert shown.returncode == 1
    data = yaml.safe_load(shown.stdout)
    assert data["limits"] == {"seconds": "many", "tokens": 20000, "tool_calls": 50}
    assert data["lop"] == 1
    assert data["tools"] == [
        "tools/note.pym",
        {"path": "tools/note.pym", "name": "remark", "description": "Remark.", "limits": {"seconds": 1}},
        7,
    ]
    assert "plugin" not in data["model"]
    errors = [line.split(":")[0] for line in shown.stderr.splitlines() if line.startswith("error")]
    assert errors == ["error[S002]", "error[S001]", "error[S002]", "error[S003]"]


@pytest.mark.parametrize(
    ("manifest", "code", "out"),
    [
        ("a: [", "Y001", ""),
        (CHILD.replace("base", "bse"), "X001", CHILD.replace("base", "bse")),
        ("", "Y005", ""),
    ],
)
def test_what_cannot_be_resolved(manifest: str, code: str, out: str) -> None:
    base(Path("bundles/base"))
    write(Path("bundles/child"), {"bundle.yaml": manifest})
    shown = engine("show-bundle", "child", "--resolved")
    assert (shown.returncode, shown.stdout) == (1, out)
    assert f"error[{code}]" in shown.stderr
    as_json = engine("show-bundle", "child", "--json")
    assert as_json.returncode == 1
    assert json.loads(as_json.stdout)["manifest"] == (yaml.safe_load(out) if out else None)


def test_a_bundle_that_does_not_exist() -> None:
    shown = engine("show-bundle", "nothing")
    assert shown.returncode == 1
    assert "nothing does not exist" in shown.stderr


def test_text_of_others_does_not_drive_the_terminal() -> None:
    base(Path("bundles/base"), **{"bundle.yaml": FILES["bundle.yaml"].replace("Does one thing.", '"a \\e[2J b"')})
    shown = engine("show-bundle", "base", "--resolved")
    assert "\x1b" not in shown.stdout
    assert yaml.safe_load(shown.stdout)["description"] == "a \x1b[2J b"


# -- what is shown reads as what is in force


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_shipped_bundles_read_the_same_when_written_out(folder: Path, tmp_path) -> None:
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    (copy / "bundle.yaml").write_text(show_manifest(folder, resolved=True, origins=True).text, encoding="utf-8")
    assert show_manifest(copy).diagnostics == ()
    before, after = load_bundle(folder), load_bundle(copy)
    assert before.manifest.model_dump(exclude={"tools"}) == after.manifest.model_dump(exclude={"tools"})
    assert before.tool_schemas == after.tool_schemas
    assert [tool.spec for tool in before.tools] == [tool.spec for tool in after.tools]


def test_a_child_reads_the_same_when_written_out_over_its_parents_files() -> None:
    base(
        Path("base"),
        **{"bundle.yaml": FILES["bundle.yaml"].replace("model: {plugin: qwen}", "model: {plugin: qwen, role: r}")},
    )
    child(
        Path("child"),
        "model: {id: m}\nnodes: {types: [function]}\nparams: {style: {default: null, type: null, enum: null}}\n",
    )
    shutil.copytree("base", "flat")
    write(Path("flat"), {"bundle.yaml": show_manifest("child", resolved=True).text})
    one, two = load_bundle("child"), load_bundle("flat")
    assert one.manifest.model_dump(exclude={"tools"}) == two.manifest.model_dump(exclude={"tools"})
    assert one.tool_schemas == two.tool_schemas
    assert one.manifest.params == {"style": {"default": None}}


KEYWORDS = st.dictionaries(st.sampled_from(["default", "enum", "x"]), VALUES, max_size=3)
COMMANDS = st.lists(st.lists(TEXT, max_size=2), max_size=2)
PIECES = st.fixed_dictionaries(
    {},
    optional={
        "description": TEXT.filter(bool),
        "version": TEXT,
        "params": st.dictionaries(st.sampled_from("ab"), KEYWORDS),
        "prompts": st.fixed_dictionaries({"user": st.fixed_dictionaries({"text": TEXT | st.just("a\n\n  b\n")})}),
        "checks": st.just([{"run": ["a", "{file}"]}, "parses"]),
        "limits": st.fixed_dictionaries({}, optional={"seconds": st.floats(0.1, 10), "tokens": st.integers(1, 10**9)}),
        "nodes": st.fixed_dictionaries({"query": st.just("q.scm")}),
        "permissions": st.fixed_dictionaries({"run": COMMANDS, "read": st.lists(TEXT)}),
    },
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(PIECES, st.booleans())
def test_whatever_is_written_out_reads_the_same(pieces, origins: bool) -> None:
    text = json.dumps({**yaml.safe_load(FILES["bundle.yaml"]), **pieces}, ensure_ascii=False)
    document = read_yaml(text, "some\nfile")
    typed = read_manifest(document)
    if not document.usable or typed.diagnostics:
        return
    resolved = resolve(document, typed)
    again = read_yaml(to_yaml(resolved, origins=origins), "again")
    assert again.diagnostics == ()
    assert again.data == resolved.data
    reread = read_manifest(again)
    assert reread.diagnostics == ()
    assert typed.model is not None
    assert reread.model is not None
    assert reread.model.model_dump(exclude={"tools"}) == typed.model.model_dump(exclude={"tools"})


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_any_data_survives_being_written(data) -> None:
    resolved = Resolved(data, {path: Span("f", 1) for path, _ in leaves(data)})
    for origins in (False, True):
        document = read_yaml(to_yaml(resolved, origins=origins), "f")
        assert document.diagnostics == () or not data
        assert document.data == data


def test_every_default_is_shown() -> None:
    with TemporaryDirectory() as folder:
        source = read_folder(base(Path(folder)), "b")
        document = read_yaml(source.text("bundle.yaml")[0] or "", "b")
        resolved = resolve(document, read_manifest(document))
    top = json_schema("bundle")["properties"]
    silent = {key for key, value in top.items() if "default" in value and value["default"] is None}
    assert set(resolved.data) == set(top) - silent
    assert list(resolved.data) == [key for key in top if key in resolved.data]


def test_the_whole_format_is_shown_in_its_order() -> None:
    document = read_yaml(WHOLE, "w")
    resolved = resolve(document, read_manifest(document))
    assert read_yaml(to_yaml(resolved), "w").data == resolved.data
    for path, value in leaves(document.data):
        found = resolved.data
        for step in path:
            found = found[step] if not isinstance(found, dict) or step in found else None
        assert found == value or found == {**(found if isinstance(found, dict) else {}), "path": value}

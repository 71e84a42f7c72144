"""YAML with positions, schema findings, engine.yaml, the schema export."""

import json
import re
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mutations import VALUES, mutate

from engine.errors import ConfigError
from engine.manifest import (
    EngineConfig,
    Manifest,
    decode,
    json_schema,
    load_engine_config,
    read_engine_config,
    read_manifest,
    read_yaml,
    validator,
)
from engine.manifest.engine_config import environment_names
from engine.manifest.export import export, schema_text

ROOT = Path(__file__).parent.parent
MINIMAL = """\
format: 1
name: docstring
description: Writes docstrings.
model: {plugin: qwen}
prompts: {user: prompts/user.md.j2}
tools: [tools/write.pym]
"""


def found(text: str) -> list[tuple[str, int, int]]:
    return [(item.code, item.span.line, item.span.column) for item in read_yaml(text, "f").diagnostics]


def checked(extra: str, base: str = MINIMAL) -> list[tuple[str, int, int, str]]:
    typed = read_manifest(read_yaml(base + extra, "f"))
    items = sorted(typed.diagnostics, key=lambda item: item.sort_key)
    return [(item.code, item.span.line, item.span.column, item.message) for item in items]


# -- YAML


def test_a_plain_document_reads_as_data() -> None:
    text = "a: 1\nb: [x, 2.5, true, null]\nc: {d: 'no', e: \"010\"}\nf: |\n  two\n  lines\ng: 0x1F\nh: -3\n"
    document = read_yaml(text, "f")
    assert document.diagnostics == ()
    assert document.data == {
        "a": 1,
        "b": ["x", 2.5, True, None],
        "c": {"d": "no", "e": "010"},
        "f": "two\nlines\n",
        "g": 31,
        "h": -3,
    }


def test_positions_are_exact_in_characters() -> None:
    document = read_yaml("é: {x: 😀, y: [1, abc]}\nk:\n  - z\n", "f")
    value = document.positions.value(("é", "y", 1))
    assert (value.line, value.column, value.end_line, value.end_column) == (1, 18, 1, 21)
    key = document.positions.key(("é", "y"))
    assert (key.line, key.column) == (1, 11)
    assert document.positions.value(("k", 0)).line == 3
    assert ("k", 0) in document.positions
    assert ("k", 1) not in document.positions
    with pytest.raises(KeyError):
        document.positions[("k", 1)]
    assert document.positions[("k", 0)].key is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\nb: 2\n", ("Y001", 2, 2)),
        ("a: *x\n", ("Y001", 1, 4)),
        ("a: b: c\n", ("Y001", 1, 5)),
        ("\ta: 1\n", ("Y001", 1, 1)),
        ("a: &x 1\nb: &x 2\n", ("Y001", 2, 4)),
        ("name: a\nmore: b\nname: c\n", ("Y002", 3, 1)),
        ("a: {b: 1, b: 2}\n", ("Y002", 1, 11)),
        ("a: &a [*a]\n", ("Y003", 1, 4)),
        ("a: &a {b: *a}\n", ("Y003", 1, 4)),
        ("a: no\n", ("Y004", 1, 4)),
        ("a: On\n", ("Y004", 1, 4)),
        ("on: a\n", ("Y004", 1, 1)),
        ("a: 010\n", ("Y004", 1, 4)),
        ("a: 1_000\n", ("Y004", 1, 4)),
        ("a: 0b11\n", ("Y004", 1, 4)),
        ("a: 1:30\n", ("Y004", 1, 4)),
        ("a: 190:20:30.15\n", ("Y004", 1, 4)),
        ("a: 2024-01-01\n", ("Y004", 1, 4)),
        ("a: .inf\n", ("Y004", 1, 4)),
        ("a: .NaN\n", ("Y004", 1, 4)),
        ("a: " + "9" * 400 + "\n", ("S005", 1, 4)),
        ("a: 1.0e+999\n", ("S005", 1, 4)),
        ("", ("Y005", 1, 1)),
        ("# only a comment\n", ("Y005", 1, 1)),
        ("- a\n", ("Y005", 1, 1)),
        ("text\n", ("Y005", 1, 1)),
        ("1: a\n", ("Y006", 1, 1)),
        ("null: a\n", ("Y006", 1, 1)),
        ("? [a]\n: b\n", ("Y006", 1, 3)),
        ("? {a: b}\n: c\n", ("Y006", 1, 3)),
        ("a: !!python/object/apply:os.system [x]\n", ("Y007", 1, 4)),
        ("a: !env X\n", ("Y007", 1, 4)),
        ("a: 1\n---\nb: 2\n", ("Y007", 2, 1)),
        ("a: &a {b: 1}\nc:\n  <<: *a\n", ("Y007", 3, 3)),
        ("a: \x07\n", ("L006", 1, 4)),
        ("a: \ud800\n", ("L006", 1, 4)),
    ],
)
def test_yaml_findings_have_their_place(text: str, expected: tuple[str, int, int]) -> None:
    assert found(text)[0] == expected
    assert len(found(text)) == 1


def test_duplicate_key_names_the_first_line() -> None:
    (finding,) = read_yaml("x: 1\nname: a\nname: b\n", "f").diagnostics
    assert "line 2" in finding.message


def test_surprises_carry_a_certain_fix() -> None:
    (finding,) = read_yaml("a: no\n", "f").diagnostics
    assert finding.fix is not None
    assert finding.fix.text == '"no"'
    assert finding.help == "write false, or quote it"


def test_alias_bombs_stop_early() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (finding,) = read_yaml("\n".join(lines), "f").diagnostics
    assert finding.code == "Y003"


def test_plain_aliases_are_allowed() -> None:
    document = read_yaml("a: &a [1, 2]\nb: *a\n", "f")
    assert document.diagnostics == ()
    assert document.data["b"] == [1, 2]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "- " * 100_000, "{a: " * 50_000, "? " * 100_000, "a: " + "[" * 300 + "]" * 300]
)
def test_deep_nesting_is_a_finding_in_any_thread(text: str) -> None:
    results: list[list[tuple[str, int, int]]] = []
    threading.stack_size(256 * 1024)
    try:
        thread = threading.Thread(target=lambda: results.append(found(text)))
        thread.start()
        thread.join()
    finally:
        threading.stack_size(0)
    assert [code for code, _, _ in results[0]] == ["Y003"]


def test_deep_indentation_is_a_finding() -> None:
    text = "".join(f"{' ' * depth}a:\n" for depth in range(400))
    assert [code for code, _, _ in found(text)] == ["Y003"]


def test_bytes_are_decoded_strictly() -> None:
    assert decode(b"\xef\xbb\xbfa: 1", "f") == ("a: 1", [])
    text, (finding,) = decode("a: 1\nb: é".encode("latin-1"), "f")
    assert text is None
    assert (finding.code, finding.span.line, finding.span.column) == ("L006", 2, 4)
    assert decode(b"a\x00", "f")[1][0].code == "L006"
    assert decode("a: 1".encode("utf-16"), "f")[1][0].code == "L006"
    assert decode(b"x" * 300_000, "f")[1][0].code == "L007"


# -- schema


def test_a_minimal_manifest_is_typed() -> None:
    typed = read_manifest(read_yaml(MINIMAL, "f"))
    assert typed.diagnostics == ()
    assert isinstance(typed.model, Manifest)
    assert typed.model.loop.max_turns == 8
    assert typed.sound("prompts", "user")


@pytest.mark.parametrize(
    ("extra", "code", "line", "column", "words"),
    [
        ("promts: 1\n", "S001", 7, 1, "unknown key 'promts' in the top level: did you mean 'prompts'?"),
        ("loop: {max_turn: 2}\n", "S001", 7, 8, "unknown key 'max_turn' in loop: did you mean 'max_turns'?"),
        ("version: 1.0\n", "S002", 7, 10, "version must be text, not the number 1.0"),
        ("checks: parses\n", "S002", 7, 9, "checks must be a list, not text 'parses'"),
        ("permissions: {ask: 1}\n", "S002", 7, 20, "permissions.ask must be true or false, not the number 1"),
        ("grammar: {mode: enbf}\n", "S004", 7, 17, "did you mean 'ebnf'?"),
        ("loop: {on_no_call: finsh}\n", "S004", 7, 20, "grammar"),
        ("loop: {max_turns: 0}\n", "S005", 7, 19, "loop.max_turns ('0') must be at least 1"),
        ("limits: {seconds: 0}\n", "S005", 7, 19, "must be more than 0"),
        ("params: {a-b: {}}\n", "S005", 7, 10, "the name 'a-b' is not an identifier"),
        ("adapters: {a: {}}\n", "S006", 7, 12, "adapters.a needs one of the keys path, gguf, name"),
        ("adapters: {a: {path: x, name: y}}\n", "S006", 7, 25, "exclude each other"),
        ("routing: [{adapter: x}]\n", "S006", 7, 11, "routing[0] needs one of the keys when, after_tool"),
        ("nodes: {types: [file], query: q.scm}\n", "S006", 7, 24, "exclude each other"),
        ("context: [{name: x}]\n", "S003", 7, 11, "context[0] lacks the key 'path'"),
    ],
)
def test_schema_findings(extra: str, code: str, line: int, column: int, words: str) -> None:
    (finding,) = checked(extra)
    assert finding[:3] == (code, line, column)
    assert words in finding[3] or code == "S004"


@pytest.mark.parametrize(
    ("entry", "code", "words"),
    [
        ("7", "S002", "tools[0] must be text or a mapping, not the number 7"),
        ("{path: x.pym, limit: 1}", "S001", "unknown key 'limit' in tools[0]: did you mean 'limits'?"),
        ("{path: x.pym, limits: {second: 1}}", "S001", "unknown key 'second' in tools[0].limits"),
        ("{path: 3}", "S002", "tools[0].path must be text, not the number 3"),
        ("{python: foo}", "S005", "tools[0].python ('foo') does not have the form"),
        ("{mcp: {command: [x], tool: [y]}}", "S003", "tools[0].mcp lacks the key 'tools'"),
        ("{name: x}", "S003", "tools[0] lacks the key 'path'"),
    ],
)
def test_unions_report_the_branch_that_was_meant(entry: str, code: str, words: str) -> None:
    base = MINIMAL.replace("tools: [tools/write.pym]", f"tools: [{entry}]")
    findings = checked("", base)
    assert (code, words) in [(item[0], item[3][: len(words)]) for item in findings]
    assert all("is not valid under" not in item[3] for item in findings)


def test_missing_top_level_keys() -> None:
    findings = checked("", "name: x\n")
    assert [item[0] for item in findings] == ["S003"] * 5
    assert findings[0][1:3] == (1, 1)


@pytest.mark.parametrize("value", ["2", "'1'", "true", "null", "1.5"])
def test_other_formats(value: str) -> None:
    (finding,) = checked("", MINIMAL.replace("format: 1", f"format: {value}"))
    assert finding[:3] == ("S007", 1, 9)


def test_a_surprise_is_not_reported_twice() -> None:
    assert [item[0] for item in checked("version: 2024-01-01\n")] == ["Y004"]
    assert [item[0] for item in checked("permissions: {ask: yes}\n")] == ["Y004"]
    assert [item[0] for item in checked("on: 1\n")] == ["Y004"]


def test_what_is_sound_is_kept_beside_what_is_broken() -> None:
    text = MINIMAL.replace("tools: [tools/write.pym]", "tools: [7, tools/write.pym, {path: 3}, b.pym]")
    typed = read_manifest(read_yaml(text + "loop: {max_turns: many}\nextra: 1\n", "f"))
    assert typed.model is not None
    assert typed.model.tools == ("tools/write.pym", "b.pym")
    assert [typed.index("tools", position) for position in (0, 1)] == [1, 3]
    assert not typed.sound("loop", "max_turns")
    assert typed.sound("prompts", "user")
    assert not typed.sound("tools", 0)
    assert typed.sound("tools", 1)


def test_only_pydantic_sees_a_final_newline() -> None:
    text = MINIMAL.replace("name: docstring", 'name: "docstring\\n"')
    (finding,) = checked("", text)
    assert finding[:3] == ("S005", 2, 7)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.text() | st.text(alphabet="abn:-[]{}&*!|>'\"#?,%@ \n\t0159_.<~="))
def test_arbitrary_text_never_raises(text: str) -> None:
    document = read_yaml(text, "f")
    typed = read_manifest(document)
    assert typed.diagnostics or typed.model is not None
    assert all(item.span.line >= 1 and item.span.column >= 1 for item in typed.diagnostics)


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_mutated_manifests_never_raise_and_agree_with_pydantic(data: st.DataObject) -> None:
    whole = read_yaml((ROOT / "tests/data/full_bundle.yaml").read_text(encoding="utf-8"), "f").data
    mutated = mutate(data, whole)
    document = read_yaml(json.dumps(mutated, ensure_ascii=False), "f")
    assume(document.usable)  # YAML refuses some characters that JSON has
    typed = read_manifest(document)
    assert typed.model is not None
    by_schema = not list(validator("bundle").iter_errors(mutated))
    if not by_schema:
        assert typed.diagnostics


def test_the_full_manifest_of_the_documentation_is_valid() -> None:
    text = (ROOT / "tests/data/full_bundle.yaml").read_text(encoding="utf-8")
    assert read_manifest(read_yaml(text, "f")).diagnostics == ()


# -- export


@pytest.mark.parametrize("kind", ["bundle", "engine"])
def test_exported_schemas_are_current_and_valid(kind) -> None:
    stored = (ROOT / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8")
    assert stored == schema_text(kind), "run: python -m engine.manifest.export"
    schema = json.loads(stored)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].startswith("https://json-schema.org/draft/2020-12")
    assert schema["$id"]


@pytest.mark.parametrize("kind", ["bundle", "engine", "tests"])
def test_every_key_has_a_description(kind) -> None:
    schema = json_schema(kind)
    for name, model in {"": schema, **schema["$defs"]}.items():
        assert model.get("description"), name
        for key, value in model.get("properties", {}).items():
            text = value.get("description") or schema["$defs"][value["$ref"].rpartition("/")[2]]["description"]
            assert len(text) > 5, f"{name}.{key}"


def test_export_writes_files(tmp_path) -> None:
    names = ["bundle.schema.json", "engine.schema.json", "tests.schema.json"]
    assert sorted(path.name for path in export(tmp_path / "out")) == names
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_the_exported_schema_says_the_same_as_the_validator() -> None:
    bad = {"format": 1, "name": "x", "model": {"plugin": "q", "id": "a", "role": "b"}}
    exported = Draft202012Validator(json_schema("bundle"))
    wanted = sorted(error.message for error in validator("bundle").iter_errors(bad))
    assert sorted(error.message for error in exported.iter_errors(bad)) == wanted


# -- engine.yaml


def test_no_settings_are_the_defaults(tmp_path) -> None:
    assert load_engine_config(tmp_path, None, {}) == (EngineConfig(), None)


def test_settings_are_found_upward(tmp_path) -> None:
    (tmp_path / "engine.yaml").write_text("backend: {kind: openai, base_url: 'http://h/v1'}\n", encoding="utf-8")
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n", encoding="utf-8")
    config, root = load_engine_config(below, None, {})
    assert config.backend.base_url == "http://h/v1"
    assert root == tmp_path


def test_pyproject_table(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.engine.run]\nconcurrency = 3\n", encoding="utf-8")
    config, root = load_engine_config(tmp_path, None, {})
    assert config.run.concurrency == 3
    assert root == tmp_path


def test_pyproject_findings_have_lines(tmp_path) -> None:
    text = "[project]\nname = 'x'\n\n[tool.engine.run]\nconcurency = 3\n\n[tool.engine]\nbundles = 4\n"
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_engine_config(tmp_path, None, {})
    assert "pyproject.toml:5:1: S001" in str(caught.value)
    assert "pyproject.toml:8:1: S002" in str(caught.value)


def test_broken_toml(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.engine\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"pyproject\.toml:1:13: Y001"):
        load_engine_config(tmp_path, None, {})


def test_toml_dates_and_infinities_are_findings(tmp_path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.engine.run]\nseconds = inf\nretries = 2024-01-01\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError) as caught:
        load_engine_config(tmp_path, None, {})
    assert len(re.findall("S002", str(caught.value))) == 2


def test_bad_settings_name_file_line_and_column(tmp_path) -> None:
    (tmp_path / "engine.yaml").write_text("run:\n  concurrency: 0\n  retires: 1\nrun: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_engine_config(tmp_path, None, {})
    text = str(caught.value)
    assert f"{tmp_path}/engine.yaml:2:16: S005" in text
    assert f"{tmp_path}/engine.yaml:3:3: S001" in text
    assert f"{tmp_path}/engine.yaml:4:1: Y002" in text


def test_explicit_file(tmp_path) -> None:
    path = tmp_path / "other.yaml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_engine_config(tmp_path, path, {})
    path.write_text("bundles: b\n", encoding="utf-8")
    assert load_engine_config(Path("/"), path, {})[0].bundles == "b"
    empty = tmp_path / "pyproject.toml"
    empty.write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no \[tool\.engine\]"):
        load_engine_config(tmp_path, empty, {})


def test_an_empty_file_is_the_defaults(tmp_path) -> None:
    (tmp_path / "engine.yaml").write_text("# nothing yet\n", encoding="utf-8")
    assert load_engine_config(tmp_path, None, {}) == (EngineConfig(), tmp_path)


def test_the_environment_overrides_by_path(tmp_path) -> None:
    (tmp_path / "engine.yaml").write_text("backend: {kind: openai, model: a}\nrun: {retries: 1}\n", encoding="utf-8")
    env = {
        "ENGINE_BACKEND_MODEL": "b",
        "ENGINE_BACKEND_BASE_URL": "http://h/v1",
        "ENGINE_RUN_CONCURRENCY": "4",
        "ENGINE_RUN_SECONDS": "1.5",
        "ENGINE_TRUST_PYTHON_TOOLS": "true",
        "ENGINE_BUNDLES": "x",
        "ENGINE_RUN_RETRIES": "",
        "ENGINE_VALIDATE_STRICT": "1",
    }
    config, _ = load_engine_config(tmp_path, None, env)
    assert (config.backend.kind, config.backend.model, config.backend.base_url) == ("openai", "b", "http://h/v1")
    assert (config.run.concurrency, config.run.seconds, config.run.retries) == (4, 1.5, 1)
    assert config.trust.python_tools is True
    assert config.bundles == "x"


@pytest.mark.parametrize(
    ("name", "value"),
    [("ENGINE_RUN_CONCURRENCY", "many"), ("ENGINE_RUN_CONCURRENCY", "0"), ("ENGINE_BACKEND_KIND", "magic")],
)
def test_bad_environment_is_named(tmp_path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=name):
        load_engine_config(tmp_path, None, {name: value})


def test_environment_names_are_unique() -> None:
    names = [name for name, _ in environment_names()]
    assert len(names) == len(set(names))
    assert "ENGINE_BACKEND_API_KEY_ENV" in names


@settings(max_examples=100)
@given(st.dictionaries(st.sampled_from(["backend", "bundles", "operations", "run", "trust", "x"]), VALUES))
def test_engine_settings_never_raise(data) -> None:
    typed = read_engine_config(read_yaml(json.dumps(data, ensure_ascii=False), "f"))
    assert typed.diagnostics or typed.model is not None

"""Certain repairs: which findings have one, `engine validate --fix` and `--diff`."""

import json
import stat
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from engine.bundle import validate
from engine.bundle.fixing import apply_edits, plan_fixes, unified_diff, write_fixes
from engine.cli import cli
from engine.diagnostics import Edit, Span
from engine.errors import ConfigError
from engine.manifest import load_engine_config, read_manifest, read_yaml, with_repairs
from engine.manifest.near import meant, slips

TOOL = '"""Do nothing."""\nresult = True\nresult\n'
GOOD = """\
format: 1
name: good
description: Does one thing.
model: {plugin: qwen}
prompts: {user: user.md.j2}
tools: [t.pym]
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))


def make(folder: Path, manifest: str | bytes = GOOD) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    raw = manifest.encode() if isinstance(manifest, str) else manifest
    (folder / "bundle.yaml").write_bytes(raw)
    for name in ("t.pym", "u.pym"):
        (folder / name).write_text(TOOL)
    (folder / "user.md.j2").write_text("{{ node.text }}\n")
    return folder


def engine(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)


def fixes(text: str) -> list[str]:
    """The certain repairs of a manifest, as CODE text."""
    document = with_repairs(read_yaml(text, "bundle.yaml"), "bundle")
    return [f"{item.code} {item.fix.text}" for item in read_manifest(document).diagnostics if item.fix]


def mended(folder: Path) -> str:
    problems = write_fixes(plan_fixes([folder]).files)
    assert problems == []
    return (folder / "bundle.yaml").read_bytes().decode()


# -- what is certain


REPAIRED = {
    "a missing format": (GOOD.removeprefix("format: 1\n"), GOOD),
    "a missing format below comments": ("# one\n\n" + GOOD.removeprefix("format: 1\n"), "# one\n\n" + GOOD),
    "a format of text": (GOOD.replace("format: 1", "format: '1'"), GOOD),
    "a format that is misspelt": (GOOD.replace("format", "formt"), GOOD),
    "a misspelt key": (GOOD.replace("tools", "tols"), GOOD),
    "two misspelt keys": (GOOD.replace("tools", "tols").replace("prompts", "promtps"), GOOD),
    "another case": (GOOD + "loop: {maxTurns: 3}\n", GOOD + "loop: {max_turns: 3}\n"),
    "an older name": (GOOD + "grammar: {allow_parallel_calls: true}\n", GOOD + "grammar: {parallel_calls: true}\n"),
    "an older name in a list": (GOOD.replace("[t.pym]", "[{pym: t.pym}]"), GOOD.replace("[t.pym]", "[{path: t.pym}]")),
    "an older name with a surprise": (
        GOOD + "grammar: {allow_parallel_calls: no}\n",
        GOOD + "grammar: {parallel_calls: false}\n",
    ),
    "a number that is text": (GOOD + "version: 1.10\n", GOOD + 'version: "1.10"\n'),
    "text that is a number": (GOOD + "loop: {max_turns: '8'}\n", GOOD + "loop: {max_turns: 8}\n"),
    "text that is a boolean": (GOOD + 'permissions: {ask: "true"}\n', GOOD + "permissions: {ask: true}\n"),
    "one for a list": (GOOD + "nodes: {types: function}\n", GOOD + "nodes: {types: [function]}\n"),
    "a misspelt choice": (GOOD + "grammar: {mode: Structural-Tag}\n", GOOD + "grammar: {mode: structural_tag}\n"),
    "a surprise that is text": (GOOD.replace("name: good", "name: no"), GOOD.replace("name: good", 'name: "no"')),
    "a surprise that is a boolean": (GOOD + "permissions: {ask: yes}\n", GOOD + "permissions: {ask: true}\n"),
    "a surprise that is a number": (GOOD + "limits: {tokens: 20_000}\n", GOOD + "limits: {tokens: 20000}\n"),
    "the same key twice": (GOOD.replace("tools", "name: good\ntools"), GOOD),
    "tabs": (
        GOOD.replace("{plugin: qwen}", "\n\tplugin: qwen\n\tsampling:\n\t\tseed: 1"),
        GOOD.replace("{plugin: qwen}", "\n  plugin: qwen\n  sampling:\n    seed: 1"),
    ),
    "a list that is indented in two ways": (
        GOOD.replace(" [t.pym]", "\n  - t.pym  # one\n - u.pym  # two"),
        GOOD.replace(" [t.pym]", "\n  - t.pym  # one\n  - u.pym  # two"),
    ),
    "a list that is read as one text": (
        GOOD.replace(" [t.pym]", "\n  - t.pym\n    - u.pym"),
        GOOD.replace(" [t.pym]", "\n  - t.pym\n  - u.pym"),
    ),
    "a key that stands too deep": (
        GOOD.replace(" {plugin: qwen}", "\n  plugin: qwen\n   id: x  # why"),
        GOOD.replace(" {plugin: qwen}", "\n  plugin: qwen\n  id: x  # why"),
    ),
    "keys that stand beside theirs": (
        GOOD.replace("prompts: {user: user.md.j2}", "prompts:\nuser: user.md.j2  # the question\n"),
        GOOD.replace("prompts: {user: user.md.j2}", "prompts:\n  user: user.md.j2  # the question\n"),
    ),
    "the last keys stand beside theirs": (
        GOOD + "loop:\nmax_turns: 3\nhistory: 9",
        GOOD + "loop:\n  max_turns: 3\n  history: 9",
    ),
    "a first line that is indented": (" " + GOOD, GOOD),
}


@pytest.mark.parametrize("name", REPAIRED)
def test_what_is_certain_is_repaired(name: str, tmp_path) -> None:
    before, after = REPAIRED[name]
    folder = make(tmp_path / "b", before)
    assert validate([folder]) != []
    assert mended(folder) == after
    assert validate([folder]) == []
    assert plan_fixes([folder]).files == ()


UNCERTAIN = {
    "two keys are as close": GOOD.replace("[t.pym]", "[{path: t.pym, inputs: {x: {mix_length: 1}}}]"),
    "the key that is meant is there": GOOD + "tols: [u.pym]\n",
    "two keys mean the same one": GOOD.replace("tools: [t.pym]\n", "tols: [t.pym]\ntoools: [u.pym]\n"),
    "the value would not fit": GOOD + "adapter: docs\n",
    "a word that is nothing like a key": GOOD + "xyz: 1\n",
    "a key of three letters": GOOD + "loop: {on: 1}\n",
    "text with blanks for a list": GOOD + "nodes: {languages: python go}\n",
    "a number that is no choice": GOOD + "grammar: {mode: 7}\n",
    "a number that is no name": GOOD.replace("name: good", "name: 7"),
    "a value of any type": GOOD.replace("[t.pym]", "[{path: t.pym, inputs: {x: {default: no}}}]"),
    "an octal number or a decimal one": GOOD + "loop: {max_turns: 010}\n",
    "another format": GOOD.replace("format: 1", "format: 2"),
    "no format, and keys that no format has": "agents_dir: agents\nmodel: qwen\nname: x\n",
    "an anchor that is used twice": GOOD + "limits: {seconds: &n '8', tokens: *n}\n",
    "the same key twice with two values": GOOD + "name: other\n",
    "a key that may belong to two": GOOD.replace("description: Does one thing.\n", "").replace(
        "[t.pym]", "\n  - path: t.pym\n   description: Does one thing."
    ),
    "a bracket that is not closed": GOOD.replace("[t.pym]", "[t.pym"),
    "a quote that is not closed": GOOD.replace("name: good", 'name: "good'),
}


@pytest.mark.parametrize("name", UNCERTAIN)
def test_what_is_not_certain_is_left_alone(name: str, tmp_path) -> None:
    text = UNCERTAIN[name]
    found = [item for item in fixes(text) if not item.startswith("S003")]
    assert found == []
    folder = make(tmp_path / "b", text)
    assert validate([folder], use_cache=False) != []
    assert mended(folder) == text


def test_each_finding_has_its_own_edit() -> None:
    text = GOOD.replace("tools", "tols") + "version: 2\ngrammar: {mode: ebfn}\nloop: {max_turns: '3'}\n"
    assert fixes(text) == ["S001 tools", 'S002 "2"', "S004 ebnf", "S002 3"]


def test_an_older_manifest_is_for_migrate() -> None:
    text = "name: x\nmodel: qwen\nagents_dir: tools\ntols: 1\n"
    document = with_repairs(read_yaml(text, "bundle.yaml"), "bundle")
    found = read_manifest(document).diagnostics
    assert [item.fix for item in found] == [None] * len(found)
    (missing,) = [item for item in found if item.message.endswith("lacks the key 'format'")]
    assert "engine migrate" in (missing.help or "")


@pytest.mark.parametrize(
    ("word", "known", "found"),
    [
        ("tols", ["tools", "tests"], "tools"),
        ("maxTurns", ["max_turns", "max_tokens"], "max_turns"),
        ("max-turns", ["max_turns", "maxturns"], None),
        ("min_lenght", ["min_length", "max_length"], "min_length"),
        ("mix_length", ["min_length", "max_length"], None),
        ("id", ["ids", "if"], None),
        ("", ["a", "name"], None),
        ("name", ["name", "names"], "names"),
        ("descriptoin", ["description"], "description"),
        ("desriptoinn", ["description"], None),
    ],
)
def test_which_word_is_meant(word: str, known: list[str], found: str | None) -> None:
    assert meant(word, known) == found


def test_slips_are_counted_as_a_typist_makes_them() -> None:
    assert [slips("tools", word) for word in ("tools", "tolos", "tool", "stools", "fools", "toll")] == [
        0,
        1,
        1,
        1,
        1,
        2,
    ]
    assert slips("a", "abcd") == 99


# -- files


def test_everything_else_stays_byte_for_byte(tmp_path) -> None:
    text = "\ufeff# é\r\nname: good   # a name\r\ndescription: >-\r\n  Does\r\n  one thing.\r\n"
    text += "version: 3\r\nmodel: {plugin: qwen}\r\nprompts: {user: user.md.j2}\r\ntols:   [t.pym]"
    folder = make(tmp_path / "b", text)
    wanted = text.replace("name: good", "format: 1\r\nname: good").replace("3", '"3"').replace("tols", "tools")
    assert mended(folder) == wanted
    assert validate([folder]) == []


def test_edits_that_overlap_are_not_both_made() -> None:
    first, second = Edit(Span("f", 1, 1, 1, 4), "X"), Edit(Span("f", 1, 3, 1, 6), "Y")
    beyond = Edit(Span("f", 9, 1, 9, 2), "Z")
    assert apply_edits("abcdef", [second, first, beyond]) == ("Xdef", (first,))
    inserts = [Edit(Span("f", 2, 1, 2, 1), "x\n"), Edit(Span("f", 3, 2, 3, 3), "y")]
    assert apply_edits("a\r\nb\r\nccc", inserts)[0] == "a\r\nx\nb\r\ncyc"


def test_a_read_only_manifest_is_left_alone(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols"))
    manifest = folder / "bundle.yaml"
    manifest.chmod(0o444)
    result = engine("validate", "--fix", folder)
    assert result.return_value == 1
    assert "read-only" in result.stderr
    assert "chmod u+w" in result.stderr
    assert "repaired" not in result.stderr
    assert "tols" in manifest.read_text()
    assert stat.S_IMODE(manifest.stat().st_mode) == 0o444


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols"))
    planned = plan_fixes([folder])
    (folder / "bundle.yaml").write_text("# mine\n")
    assert ["changed meanwhile" in text for text in write_fixes(planned.files)] == [True]
    assert (folder / "bundle.yaml").read_text() == "# mine\n"


def test_a_file_that_is_gone_is_an_error_of_one_line(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols"))
    planned = plan_fixes([folder])
    (folder / "bundle.yaml").unlink()
    (problem,) = write_fixes(planned.files)
    assert "cannot be written" in problem
    assert not list(folder.glob(".engine-*"))


def test_a_link_inside_the_bundle_is_written_through(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols"))
    (folder / "bundle.yaml").rename(folder / "real.yaml")
    (folder / "bundle.yaml").symlink_to("real.yaml")
    assert mended(folder) == GOOD
    assert (folder / "bundle.yaml").is_symlink()


def test_a_link_out_of_the_bundle_is_not_followed(tmp_path) -> None:
    folder = make(tmp_path / "b")
    (tmp_path / "elsewhere.yaml").write_text(GOOD.replace("tools", "tols"))
    (folder / "bundle.yaml").unlink()
    (folder / "bundle.yaml").symlink_to("../elsewhere.yaml")
    assert plan_fixes([folder]).files == ()
    assert "tols" in (tmp_path / "elsewhere.yaml").read_text()


def test_a_bundle_that_another_builds_on_is_not_touched_through_it(tmp_path) -> None:
    base = make(tmp_path / "base", GOOD.replace("one thing.", "one thing.\nversion: '1'"))
    child = make(tmp_path / "child", "format: 1\nname: child\nextends: ../base\nloop: {max_turns: '2'}\n")
    assert mended(child) == "format: 1\nname: child\nextends: ../base\nloop: {max_turns: 2}\n"
    broken = GOOD.replace("tools", "tols")
    (base / "bundle.yaml").write_text(broken)
    write_fixes(plan_fixes([child]).files)
    assert (base / "bundle.yaml").read_text() == broken


def test_a_zip_is_left_as_it_is(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("bundle.yaml", GOOD.replace("tools", "tols"))
        archive.writestr("t.pym", TOOL)
        archive.writestr("user.md.j2", "x")
    before = (tmp_path / "b.zip").read_bytes()
    result = engine("validate", "--fix", tmp_path / "b.zip")
    assert result.return_value == 1
    assert "unpack it" in result.stderr
    assert (tmp_path / "b.zip").read_bytes() == before


def test_several_bundles_are_repaired_together(tmp_path) -> None:
    for name in ("a", "b"):
        make(tmp_path / name, GOOD.replace("tools", "tols").replace("good", name))
    make(tmp_path / "c", GOOD.replace("good", "cc"))
    planned = plan_fixes([tmp_path])
    assert [Path(item.shown).parent.name for item in planned.files] == ["a", "b"]
    write_fixes(planned.files)
    assert validate([tmp_path]) == []


# -- the command line


def test_diff_shows_and_writes_nothing(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols"))
    result = engine("validate", "--diff", folder)
    shown = (folder / "bundle.yaml").as_posix()
    assert result.return_value == 1
    assert result.stdout.splitlines()[:2] == [f"--- {shown}", f"+++ {shown}"]
    assert "\n-tols: [t.pym]\n+tools: [t.pym]\n" in result.stdout
    assert "would repair 1 finding in 1 file" in result.stderr
    assert "tols" in (folder / "bundle.yaml").read_text()
    assert engine("validate", "--diff", make(tmp_path / "good")).return_value == 0


def test_the_diff_is_one_that_patch_takes(tmp_path) -> None:
    import subprocess

    folder = make(tmp_path / "b", GOOD.replace("tools", "tols").rstrip("\n"))
    diff = engine("validate", "--diff", folder).stdout
    subprocess.run(["git", "apply", "--unsafe-paths", "-p0", "--directory=/", "-"], input=diff.encode(), check=True)
    assert (folder / "bundle.yaml").read_text() == GOOD.rstrip("\n")


def test_fix_then_validates_again(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols") + "extra: 1\n")
    result = engine("validate", "--fix", "--output-format", "json", folder)
    assert result.return_value == 1
    assert [item["code"] for item in json.loads(result.stdout)] == ["S001"]
    assert "+tools: [t.pym]" in result.stderr
    assert "repaired 1 finding in 1 file" in result.stderr
    (folder / "bundle.yaml").write_text((folder / "bundle.yaml").read_text().replace("extra: 1\n", ""))
    again = engine("validate", "--fix", folder)
    assert (again.return_value, again.stdout) == (0, "")
    assert "repaired" not in again.stderr


def test_quiet_is_quiet(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols"))
    result = engine("--quiet", "validate", "--fix", folder)
    assert (result.return_value, result.output) == (0, "")
    assert (folder / "bundle.yaml").read_text() == GOOD


def test_a_diff_cannot_drive_the_terminal(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols").replace("one thing.", "\u200bone\u202e thing."))
    result = engine("validate", "--diff", folder)
    assert "\u202e" not in result.stdout
    assert "\\u202e" in result.stdout


def test_json_carries_the_edits(tmp_path) -> None:
    folder = make(tmp_path / "b", GOOD.replace("tools", "tols"))
    found = json.loads(engine("validate", "--output-format", "json", folder).stdout)
    (fix,) = [item["fix"] for item in found if item["fix"]]
    assert fix == {"location": {"line": 6, "column": 1}, "end_location": {"line": 6, "column": 5}, "content": "tools"}
    again = json.loads(engine("validate", "--output-format", "json", folder).stdout)
    assert again == found  # from the cache


def test_a_diff_of_a_new_file() -> None:
    assert unified_diff("x", b"", b"a\n", fresh=True) == "--- /dev/null\n+++ x\n@@ -0,0 +1 @@\n+a\n"
    assert unified_diff("x", b"a\r\n", b"a\r\n") == ""


def test_settings_in_toml_that_are_no_yaml_have_their_finding(tmp_path, monkeypatch) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.engine]\nbundels = "b & [*c"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="unknown key 'bundels'"):
        load_engine_config(tmp_path)

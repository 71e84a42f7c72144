"""`engine new`: what it makes validates, has a case and a sample that fit, and is there as a whole or not at all."""

import re
import shlex
import sys
import threading
from pathlib import Path

import pexpect
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_cli import engine

from engine.bundle import load_bundle, validate
from engine.bundle.scaffold import KINDS, fill, outline, place, sample
from engine.bundle.scaffold.speech import SPEECH
from engine.discovery import discover, language_of
from engine.errors import ConfigError
from engine.manifest import LANGUAGES, node_types, read_cases, read_manifest, read_yaml
from engine.models import PLUGINS

ENGINE = [sys.executable, "-m", "engine"]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """An empty project."""
    (tmp_path / "engine.yaml").touch()
    return tmp_path


def make(folder: Path, name: str = "fresh", **wanted) -> Path:
    plan = outline(name, **wanted)
    place(folder / name, fill(plan))
    return folder / name


# -- what is made


def test_all_of_it_validates(tmp_path: Path) -> None:
    made = [
        make(tmp_path, f"{kind}-{language}", kind=kind, languages=[language])
        for kind in KINDS
        for language in LANGUAGES
    ]
    made += [make(tmp_path, f"p-{name}", plugin=name, kind="report") for name in PLUGINS]
    made.append(make(tmp_path, "every", languages=list(LANGUAGES)))
    assert validate(made, use_cache=False) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_case_and_sample_fit_every_node_type(tmp_path: Path, language: str) -> None:
    assert set(SPEECH) == set(LANGUAGES)
    for kind in SPEECH[language].nodes:
        folder = make(tmp_path, f"one-{kind}", languages=[language], types=[kind])
        path, name = sample(outline("one", languages=[language], types=[kind]))
        assert language_of(path) == language
        found = [node.qualified_name for node in discover([folder / path], root=tmp_path, types=[kind]).nodes]
        assert found.count(name) == 1 if name else len(found) == 1, found
        cases = read_cases(read_yaml((folder / "tests/cases.yaml").read_text(), "cases.yaml"))
        assert cases.diagnostics == ()
        assert (cases.model.cases[0].file, cases.model.cases[0].node) == (path, name)
    assert validate([tmp_path], use_cache=False) == []
    assert set(SPEECH[language].nodes) | {"function"} == set(node_types((language,))) | {"function"}


def test_the_sample_is_of_a_language_that_has_the_type(tmp_path: Path) -> None:
    plan = outline("mixed", languages=["python", "markdown"], types=["section"])
    assert plan.languages == ("markdown", "python")
    assert sample(plan) == ("tests/sample.md", "Account/Withdrawing")


@pytest.mark.parametrize("language", LANGUAGES)
def test_its_globs_are_the_files_of_the_language(language: str) -> None:
    assert {language_of(glob.replace("**/*", "a")) for glob in SPEECH[language].globs} == {language}
    assert language_of(f"sample{SPEECH[language].extension}") == language


@given(st.text(min_size=1, max_size=40))
def test_a_description_comes_out_as_it_went_in(text: str) -> None:
    try:
        plan = outline("fresh", description=text)
    except ConfigError:
        assert not text.strip() or not text.strip().isprintable()
        return
    typed = read_manifest(read_yaml(fill(plan)["bundle.yaml"], "bundle.yaml"))
    assert typed.diagnostics == ()
    assert typed.model.description == text.strip()


@pytest.mark.parametrize(
    "text", ["Yes it is", "No: never", "null", "a # b", "1 2", "- a", "{a b}", "Über alles 😀", "x"]
)
def test_a_description_that_yaml_could_misread(text: str) -> None:
    typed = read_manifest(read_yaml(fill(outline("fresh", description=text))["bundle.yaml"], "bundle.yaml"))
    assert (typed.diagnostics, typed.model.description) == ((), text)


def test_schemas_of_the_project_are_named_to_editors(empty: Path) -> None:
    (empty / "schemas").mkdir()
    for kind in ("bundle", "tests"):
        (empty / f"schemas/{kind}.schema.json").write_text(engine("schema", kind).stdout)
    assert engine("new", "fresh", cwd=empty).returncode == 0
    for file in ("bundle.yaml", "tests/cases.yaml"):
        path = empty / "bundles/fresh" / file
        named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
        assert named, file
        kind = "tests" if "tests" in file else "bundle"
        assert (path.parent / named[1]).resolve() == empty / f"schemas/{kind}.schema.json"
    assert validate([empty], use_cache=False) == []


# -- the command


def test_the_command_says_what_it_made_and_what_comes_next(empty: Path) -> None:
    made = engine("new", "fresh", cwd=empty)
    assert made.returncode == 0, made.stderr
    files = sorted(str(path.relative_to(empty)) for path in (empty / "bundles/fresh").rglob("*") if path.is_file())
    assert made.stdout.splitlines() == files
    lines = [line.strip() for line in made.stderr.partition("next:\n")[2].splitlines()]
    assert [line.split()[1] for line in lines] == ["validate", "test", "dev", "run"]
    checked = engine(*shlex.split(lines[0])[1:], cwd=empty)
    assert (checked.returncode, checked.stderr) == (0, "0 errors in 1 bundle\n")
    assert engine("bundles", cwd=empty).stdout.count("fresh") == 2
    assert [entry.name for entry in (empty / "bundles").iterdir()] == ["fresh"]


def test_flags_answer_everything(empty: Path) -> None:
    options = [
        "--kind",
        "report",
        "-l",
        "go",
        "-l",
        "rust",
        "--node-type",
        "class",
        "--tool",
        "tell",
        "--plugin",
        "qwen",
    ]
    made = engine("new", "x", *options, "--description", "Tells: what is.", "--path", "agents/one", cwd=empty)
    assert made.returncode == 0, made.stderr
    bundle = load_bundle(empty / "agents/one")
    manifest = bundle.manifest
    assert (manifest.description, manifest.model.plugin, manifest.permissions.write) == ("Tells: what is.", "qwen", ())
    assert (manifest.nodes.languages, manifest.nodes.types) == (("go", "rust"), ("class",))
    assert [tool.schema.name for tool in bundle.tools] == ["tell"]
    assert manifest.loop.termination_tool == "tell"


def test_the_project_decides_where(tmp_path: Path) -> None:
    (tmp_path / "engine.yaml").write_text("bundles: agents\n")
    (tmp_path / "deep").mkdir()
    made = engine("-q", "new", "fresh", cwd=tmp_path / "deep")
    assert (made.returncode, made.stderr) == (0, "")
    assert (tmp_path / "agents/fresh/bundle.yaml").is_file()
    assert made.stdout.splitlines()[0] == str(tmp_path / "agents/fresh/bundle.yaml")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["Fresh Start"], "'Fresh Start' is no name for a bundle"),
        (["Fresh Start"], "perhaps 'fresh-start'"),
        (["../up"], "is no name"),
        (["1st"], "perhaps 'st'"),
        (["a" * 64], "at most 63"),
        (["x", "--path", "here", "-l", "pyton"], "no language 'pyton': did you mean 'python'"),
        (["x", "--node-type", "clas"], "no node type 'clas' in python: did you mean 'class'"),
        (["x", "--node-type", "zzz"], "there are file, class, function, method"),
        (["x", "-l", "java", "--node-type", "function"], "java has no function"),
        (["x", "--plugin", "qwn"], "no model plugin 'qwn': did you mean 'qwen'"),
        (["x", "--tool", "a b"], "'a b' is no name for a tool"),
        (["x", "--description", "two\nlines"], "one line of text"),
        (["x", "--description", ""], "one line of text"),
        (["x", "--kind", "other"], "'other' is not one of 'edit', 'report'"),
        ([], "Missing argument 'NAME'"),
    ],
)
def test_what_cannot_be_is_refused(empty: Path, argv: list[str], words: str) -> None:
    refused = engine("new", *argv, cwd=empty)
    assert refused.returncode == 2
    assert words in refused.stderr.replace("\n", " ")
    assert "Traceback" not in refused.stderr
    assert [entry.name for entry in empty.iterdir()] == ["engine.yaml"]


def test_what_is_there_stays(empty: Path) -> None:
    (empty / "bundles/full").mkdir(parents=True)
    (empty / "bundles/full/mine.txt").write_text("mine")
    (empty / "bundles/file").write_text("mine")
    (empty / "bundles/link").symlink_to(empty / "bundles/full")
    (empty / "bundles/empty").mkdir()
    for name in ("full", "file", "link"):
        refused = engine("new", name, cwd=empty)
        assert (refused.returncode, "choose another name, or --path" in refused.stderr) == (2, True)
    assert engine("new", "empty", cwd=empty).returncode == 0
    below = engine("new", "x", "--path", "bundles/file/x", cwd=empty)
    assert (below.returncode, "cannot be made: Not a directory" in below.stderr) == (2, True)
    assert sorted(entry.name for entry in (empty / "bundles").iterdir()) == ["empty", "file", "full", "link"]
    assert (empty / "bundles/full/mine.txt").read_text() == (empty / "bundles/file").read_text() == "mine"


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be made: File name too long"):
        place(tmp_path / "a/b/fresh", {"bundle.yaml": "", "x" * 300: ""})
    assert list(tmp_path.iterdir()) == []


def test_of_two_at_once_one_wins(tmp_path: Path) -> None:
    files = fill(outline("fresh"))
    refused: list[ConfigError] = []

    def attempt() -> None:
        try:
            place(tmp_path / "fresh", files)
        except ConfigError as exc:
            refused.append(exc)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 7
    assert [entry.name for entry in tmp_path.iterdir()] == ["fresh"]
    assert validate([tmp_path], use_cache=False) == []


# -- in a terminal


def terminal(folder: Path, *argv: str) -> pexpect.spawn:
    return pexpect.spawn(
        ENGINE[0], [*ENGINE[1:], *argv], cwd=str(folder), encoding="utf-8", timeout=30, dimensions=(40, 120)
    )


def test_a_terminal_is_asked_what_no_flag_says(empty: Path) -> None:
    child = terminal(empty, "new", "fresh", "--kind", "report")
    child.expect_exact("Which languages does it take? [python]: ")
    child.sendline("go, rust")
    child.expect_exact("What does it do, in a sentence? [Says what code does, and changes nothing.]: ")
    child.sendline("")
    child.expect_exact("next:")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    manifest = yaml.safe_load((empty / "bundles/fresh/bundle.yaml").read_text())
    assert manifest["nodes"]["languages"] == ["go", "rust"]
    assert manifest["description"] == "Says what code does, and changes nothing."


def test_a_wrong_flag_is_refused_before_the_questions(empty: Path) -> None:
    child = terminal(empty, "new", "fresh", "--plugin", "qwn")
    child.expect_exact("did you mean 'qwen'")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 2


def test_yes_asks_nothing(empty: Path) -> None:
    child = terminal(empty, "new", "fresh", "--yes")
    child.expect(pexpect.EOF)
    child.close()
    assert (child.exitstatus, "?" in child.before) == (0, False)


def test_an_interrupted_question_leaves_nothing(empty: Path) -> None:
    child = terminal(empty, "new", "fresh")
    child.expect_exact("(report)? [edit]: ")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert [entry.name for entry in empty.iterdir()] == ["engine.yaml"]


# -- on the default model


@pytest.mark.embedded
def test_it_runs_on_the_default_model(empty: Path, weights: Path) -> None:
    made = engine("new", "fresh", cwd=empty)
    command = shlex.split(made.stderr.splitlines()[-1])
    before = (empty / "bundles/fresh/tests/sample.py").read_text()
    ran = engine(*command[1:], cwd=empty)
    assert ran.returncode == 0, ran.stderr
    assert "3 finished; 3 changes offered" in ran.stdout
    assert engine("accept", cwd=empty).returncode == 0
    after = (empty / "bundles/fresh/tests/sample.py").read_text()
    assert [line for line in after.splitlines() if not line.lstrip().startswith("#")] == before.splitlines()
    assert after.count("# ") == 3
    again = engine(*command[1:], "--limit", "1", cwd=empty)
    assert "1 finished; 0 changes offered" in again.stdout


@pytest.mark.embedded
def test_its_case_passes_on_the_default_model(empty: Path, weights: Path) -> None:
    for name, language in {"code": "python", "page": "markdown", "table": "toml"}.items():
        assert engine("new", name, "-l", language, cwd=empty).returncode == 0
    assert engine("new", "told", "--kind", "report", cwd=empty).returncode == 0
    tested = engine("test", *(f"bundles/{name}" for name in ("code", "page", "table", "told")), cwd=empty)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "4 cases: 4 passed" in tested.stdout

"""A bundle that builds on another at work: rendered, run, and as docs/extends.md has it."""

import re
import shutil
from pathlib import Path

import pytest
import yaml
from kernel_parts import ScriptedBackend
from projects import SOURCE, TOOL, call, make_bundle, make_project
from test_cli import engine

import engine as package
from engine.bundle import load_bundle, validate

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extends.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
MANIFEST = """\
format: 1
extends: ../note
name: loud
params: {mark: {type: string, default: "!"}}
loop: {max_turns: 1}
tools:
  - {name: add_comment, bind: {mark: params.mark}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.chdir(make_project(tmp_path / "project"))
    make_bundle(Path("bundles/note"))
    loud = TOOL.replace("\n\n\n@external", '\nmark: str = Input("mark", default="")\n\n\n@external', 1)
    child = Path("bundles/loud")
    for name, text in {
        "bundle.yaml": MANIFEST,
        "tools/add_comment.pym": loud.replace('comment + "\\n"', 'comment + mark + "\\n"'),
        "prompts/user.md.j2": "{% include '@parent/prompts/user.md.j2' %}\nShout.",
    }.items():
        (child / name).parent.mkdir(parents=True, exist_ok=True)
        (child / name).write_text(text, encoding="utf-8")
    return tmp_path / "project"


def test_a_child_is_rendered(project) -> None:
    assert validate(["bundles"]) == []
    shown = engine("render", "loud", "--target", "src/a.py::first", cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert "Comment first:" in shown.stdout
    assert "Shout." in shown.stdout
    assert '"maxLength": 60' in shown.stdout


async def test_a_child_is_run(project) -> None:
    assert load_bundle("bundles/loud").manifest.loop.termination_tool == "add_comment"
    backend = ScriptedBackend([call("so")])
    result = await package.run("bundles/loud", ["src/a.py"], backend=backend, apply=True, limit=1)
    assert result.status == "finished"
    written = (project / "src/a.py").read_text()
    assert written == SOURCE.replace("def first(a):\n", "def first(a):\n    # so!\n")
    [system, user] = backend.requests[0].messages
    assert user["content"].endswith("Shout.")
    assert system["content"].startswith("You comment functions.\n")


def test_the_bundle_of_the_page_is_what_the_page_says(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    shutil.copytree(ROOT / "bundles" / "docstring", tmp_path / "bundles" / "docstring")
    fences = FENCE.findall(PAGE)
    [manifest] = [body for language, body in fences if language == "yaml" and "name: classes" in body]
    child = tmp_path / "bundles" / "classes"
    child.mkdir()
    (child / "bundle.yaml").write_text(manifest, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert [str(item) for item in validate(["bundles"]) if item.severity == "error"] == []
    [console] = [body for language, body in fences if language == "console"]
    order, *lines = console.splitlines()
    shown = engine(*order.removeprefix("$ engine ").split(), cwd=tmp_path)
    wanted = "\n".join(line for line in lines if line != "…")
    assert wanted in shown.stdout
    assert yaml.safe_load(shown.stdout)["nodes"]["types"] == ["function", "method", "class"]


def test_the_other_examples_of_the_page_hold(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))
    fences = FENCE.findall(PAGE)
    [removals] = [body for language, body in fences if language == "yaml" and "remove: true" in body]
    [template] = [body for language, body in fences if language == "jinja"]
    base = make_bundle(tmp_path / "base")
    manifest = (base / "bundle.yaml").read_text(encoding="utf-8")
    manifest = manifest.replace("plugin: qwen", "plugin: qwen, adapter: a")
    manifest = manifest.replace("tools:\n", "tools:\n  - {path: tools/add_comment.pym, name: search}\n")
    manifest += "limits: {seconds: 1}\nadapters: {a: {name: served}}\n"
    (base / "bundle.yaml").write_text(manifest, encoding="utf-8")
    (base / "prompts/user.md.j2").write_text("{% block examples %}One.\n{% endblock %}", encoding="utf-8")
    (tmp_path / "child/prompts").mkdir(parents=True)
    (tmp_path / "child/prompts/user.md.j2").write_text(template, encoding="utf-8")
    (tmp_path / "child/bundle.yaml").write_text(f"format: 1\nextends: ../base\nname: c\n{removals}", encoding="utf-8")
    assert validate([tmp_path]) == []
    bundle = load_bundle(tmp_path / "child")
    assert (bundle.manifest.limits.seconds, bundle.manifest.model.adapter) == (300, None)
    assert [schema.name for schema in bundle.tool_schemas] == ["add_comment"]
    assert bundle.render_prompt({})[1].content == "One.\n\nOne more example.\n"

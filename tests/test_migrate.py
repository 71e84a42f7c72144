"""`engine migrate`: the four earlier shapes, where they lie, what is written, what is said."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from projects import make_project

import engine as api
from engine.bundle import load_bundle, validate
from engine.bundle.migrate import plan_migrations, write_migration
from engine.cli import cli
from engine.errors import ConfigError
from engine.messages import ToolCall
from engine.models import get_plugin

ROOT = Path(__file__).parent
EARLIER = ROOT / "samples" / "earlier"
BUNDLES = {
    "flat/article_section": "flat",
    "flat/article_summary": "flat",
    "flat/lint": "flat",
    "late/code_agent": "late",
    "model_mapping/docstring_agent": "model mapping",
    "model_mapping/harness_agent": "model mapping",
    "model_mapping/lint_agent": "model mapping",
    "model_mapping/sample_data_agent": "model mapping",
    "model_mapping/simple_analyzer": "model mapping",
    "model_mapping/test_agent": "model mapping",
    "subagent/agents/docstring": "subagent",
    "subagent/agents/lint": "subagent",
}
# The engine has no people to ask yet; everything else is valid once it is converted.
REMAINS = {"flat/article_summary": ["T007"]}
SCRIPT = '"""Say."""\nfrom grail import Input\n\nword: str = Input("word")\nword\n'


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def earlier(tmp_path) -> Path:
    shutil.copytree(EARLIER, tmp_path / "earlier")
    return tmp_path / "earlier"


def engine(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args], standalone_mode=False)


def make(folder: Path, manifest: str, name: str = "bundle.yaml", **scripts: str) -> Path:
    for file, text in {name: manifest, "tools/say.pym": SCRIPT, **scripts}.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def migrated(folder: Path, manifest: str, **scripts: str) -> tuple[dict, list[str], list[str]]:
    """Migrate one bundle in place; return the new manifest, what was lost and what is still wrong."""
    make(folder, manifest, **scripts)
    (item,) = plan_migrations(folder)
    assert item.status == "migrated", item.problem
    write_migration(item)
    lost = [note.key for note in item.notes if note.kind == "lost"]
    assert sorted(map(str, item.diagnostics)) == sorted(map(str, validate([folder])))
    return read(folder), lost, [found.code for found in item.diagnostics]


def read(folder: Path, name: str = "bundle.yaml") -> dict:
    return yaml.safe_load((folder / name).read_text(encoding="utf-8"))


def tree(folder: Path) -> dict[str, str]:
    """Every file below a folder, with a hash of its content."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# -- the samples


@pytest.mark.parametrize("name", BUNDLES)
def test_each_earlier_bundle_becomes_a_valid_one(name: str, earlier) -> None:
    folder = earlier / name
    scripts = {path: path.read_bytes() for path in folder.rglob("*.pym")}
    result = engine("migrate", folder, "--json")
    (report,) = json.loads(result.stdout)
    assert (report["status"], report["shape"]) == ("migrated", BUNDLES[name])
    assert [item["code"] for item in report["findings"]] == REMAINS.get(name, [])
    assert [item.code for item in validate([folder])] == REMAINS.get(name, [])
    assert result.return_value == int(name in REMAINS)
    assert {path: path.read_bytes() for path in folder.rglob("*.pym")} == scripts
    if name not in REMAINS:
        assert load_bundle(folder).tools


def test_migrating_twice_changes_nothing(earlier) -> None:
    assert engine("migrate", earlier).return_value == 1
    before = tree(earlier)
    again = engine("migrate", earlier)
    assert again.return_value == 0
    assert again.stdout.count("nothing to do") == len(BUNDLES)
    assert tree(earlier) == before


def test_to_a_folder_leaves_the_old_as_it_is(earlier, tmp_path) -> None:
    before = tree(earlier)
    assert engine("migrate", earlier, "--to", tmp_path / "new").return_value == 1
    assert tree(earlier) == before
    assert sorted(
        path.parent.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("bundle.y*ml")
    ) == sorted(BUNDLES)
    assert {item.code for item in validate([tmp_path / "new"])} == {"T007"}
    assert not [
        path for path in (tmp_path / "new").rglob("*") if path.name.endswith(("_subagent.yaml", ".old", ".tmp"))
    ]
    one = tree(earlier / "flat/lint/agents")
    assert tree(tmp_path / "new/flat/lint/agents") == one


def test_a_dry_run_writes_nothing_and_shows_everything(earlier, tmp_path) -> None:
    before = tree(earlier)
    result = engine("migrate", earlier / "flat/lint", "--dry-run")
    assert result.return_value == 0
    assert tree(earlier) == before
    assert "would become" in result.stdout
    assert "\n-agents_dir: agents\n" in result.stdout
    assert "\n+format: 1\n" in result.stdout
    assert "+++ " + (earlier / "flat/lint/prompts/system.md.j2").as_posix() in result.stdout


def test_the_old_manifest_is_kept(earlier) -> None:
    flat, old = earlier / "flat/lint", earlier / "subagent/agents/lint"
    before = [(flat / "bundle.yaml").read_bytes(), (old / "lint_subagent.yaml").read_bytes()]
    engine("migrate", earlier)
    assert [(flat / "bundle.yaml.old").read_bytes(), (old / "lint_subagent.yaml.old").read_bytes()] == before
    assert not (old / "lint_subagent.yaml").exists()
    assert (earlier / "model_mapping/harness_agent/bundle.yml").exists()
    assert not (earlier / "model_mapping/harness_agent/bundle.yaml").exists()


def test_comments_stay_with_what_they_are_about(earlier) -> None:
    engine("migrate", earlier)
    text = (earlier / "model_mapping/docstring_agent/bundle.yaml").read_text()
    assert text.startswith("# Write the docstring that the code lacks.\n\nformat: 1\n")
    assert "  id: google/functiongemma-270m-it  # served as it is\n" in text
    assert "prompts:\n  # The role, for every node.\n  system: prompts/system.md.j2\n" in text
    assert "        description: The text of the docstring.  # without quotes\n" in text
    assert (
        "  # look first\n  - path: tools/run_linter.pym\n"
        in (earlier / "model_mapping/lint_agent/bundle.yaml").read_text()
    )
    assert "  types: [function, class]  # as discovery calls them\n" in (earlier / "flat/lint/bundle.yaml").read_text()


def test_what_is_not_carried_over_is_listed_with_its_place(earlier) -> None:
    result = engine("migrate", earlier / "late/code_agent", "--json")
    (report,) = json.loads(result.stdout)
    manifest = (earlier / "late/code_agent/bundle.yaml").as_posix()
    lost = {item["key"]: (item["file"], item["location"]["line"]) for item in report["notes"] if item["kind"] == "lost"}
    assert lost == {
        "externals_version": (manifest, 2),
        "model": (manifest, 7),
        "max_turns": (manifest, 8),
        "prompts.chat": (manifest, 10),
        "self_reflect": (manifest, 12),
    }
    assert f"{manifest}:12:1: not carried over: self_reflect: " in result.stderr
    assert (earlier / "late/code_agent/prompts/chat.md.j2").read_text() == "Answer the person.\n"


# -- it runs


async def test_a_migrated_bundle_runs_as_it_did(earlier, tmp_path, server) -> None:
    source = "def area(a, b):\n    return a * b\n"
    project = make_project(tmp_path / "project", {"src/a.py": source})
    engine("migrate", earlier / "model_mapping/docstring_agent", "--to", tmp_path / "docstring")
    plugin = get_plugin("function_gemma")
    replies = iter(
        [
            ToolCall("1", "read_current_docstring", {}),
            ToolCall("2", "write_docstring", {"docstring": "Return the area.", "style": "google"}),
            ToolCall("3", "submit_result", {"summary": "Done.", "action": "added", "changed_files": ["src/a.py"]}),
        ]
    )
    server.text = lambda body: plugin.format_calls([next(replies)])
    server.models = [{"id": "google/functiongemma-270m-it", "owned_by": "vllm"}]
    nodes = ["src/a.py::area"]
    result = await api.run(
        tmp_path / "docstring", [project], project=project, base_url=server.api, nodes=nodes, apply=True
    )
    assert [task.outcome for task in result.tasks] == ["finished"]
    assert (project / "src/a.py").read_text() == 'def area(a, b):\n    """Return the area."""\n    return a * b\n'
    first = server.bodies[0]["messages"]
    assert "def area(a, b):" in first[-1]["content"]
    assert "workspace_id" not in json.dumps(server.bodies)
    assert "google" in json.dumps(server.bodies[-1]["messages"])  # what the context provider says


@pytest.mark.embedded
def test_a_migrated_bundle_runs_on_the_embedded_model(earlier, tmp_path, weights) -> None:
    project = make_project(tmp_path / "project", {"a.py": "def area(a, b):\n    return a * b\n"})
    manifest = earlier / "model_mapping/docstring_agent/bundle.yaml"
    text = manifest.read_text().replace("termination_tool: submit_result", "termination_tool: write_docstring")
    manifest.write_text(text.replace("parallel_calls: true", "parallel_calls: false"))
    assert engine("migrate", manifest, "--to", tmp_path / "docstring").return_value == 0
    options = ["--node", "a.py::area", "--plugin", "smollm", "--model", "smollm2-135m-instruct", "--json", "--apply"]
    argv = [sys.executable, "-m", "engine", "run", str(tmp_path / "docstring"), "--target", ".", *options]
    env = {**os.environ, "ENGINE_CACHE_DIR": str(weights.parents[1])}
    ran = subprocess.run(argv, cwd=project, env=env, capture_output=True, text=True, check=False, timeout=280)
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    (finished,) = [event for event in events if event["type"] == "task:finished"]
    assert (finished["outcome"], finished["reason"]) == ("finished", "termination_tool"), ran.stderr
    assert (project / "a.py").read_text().startswith('def area(a, b):\n    """')


# -- the shapes, key by key


OLD = {
    "subagent": "name: a_b\ninitial_context: {system_prompt: Be brief., node_context: '{{ node_text }}'}\n"
    "tools: [{pym: tools/say.pym, tool_description: Say it.}]\n",
    "model mapping": "name: a_b\nmodel: {plugin: qwen}\ninitial_context: {system_prompt: Be brief.}\n"
    "tools: [{name: say}]\nregistries: [{type: grail}]\n",
    "flat": "name: a_b\nmodel: qwen\nagents_dir: tools\ninitial_context: {system_prompt: Be brief.}\n",
    "late": "name: a_b\nsystem_prompt: Be brief.\nexternals_version: 2\n",
}


@pytest.mark.parametrize("shape", OLD)
def test_defaults_of_each_shape(shape: str, tmp_path) -> None:
    new, lost, wrong = migrated(tmp_path / "b", OLD[shape])
    assert (new["format"], new["name"], new["description"]) == (1, "a_b", "Be brief.")
    assert wrong == []
    assert lost == (["externals_version"] if shape == "late" else [])
    assert new.get("loop") == ({"on_no_call": "finish"} if shape == "late" else {"max_turns": 20})
    grammar = {
        "subagent": None,
        "model mapping": {"strategy": "typed", "parallel_calls": True},
        "flat": {"strategy": "typed", "parallel_calls": False},
        "late": {"text": "allowed"},
    }
    assert new.get("grammar") == grammar[shape]
    (system,) = (tmp_path / "b/prompts").glob("system*")
    assert system.read_text() == "Be brief.\n"


def model(tmp_path, text: str, number: int) -> tuple[dict, list[str]]:
    new, lost, _ = migrated(tmp_path / f"m{number}", "name: x\nagents_dir: tools\n" + text)
    return new["model"], lost


def test_models(tmp_path) -> None:
    cases = [
        ("model: qwen\n", {"plugin": "qwen"}),
        ("model: Qwen/Qwen2.5-Coder-3B\n", {"plugin": "qwen_coder", "id": "Qwen/Qwen2.5-Coder-3B"}),
        (
            "model: {id: google/functiongemma-270m-it}\n",
            {"plugin": "function_gemma", "id": "google/functiongemma-270m-it"},
        ),
        ("model: {plugin: llama3, model: l}\n", {"plugin": "llama3", "id": "l"}),
        ("model: {plugin: qwen, name: n, adapter: a}\n", {"plugin": "qwen", "id": "n"}),
        ("model_id: meta-llama/Llama-3.2-1B\n", {"plugin": "llama3", "id": "meta-llama/Llama-3.2-1B"}),
        ('model: "${MODEL:-smollm2}"\n', {"plugin": "smollm", "id": "smollm2"}),
        ('model: "${MODEL}"\n', {"plugin": "qwen"}),
        ("model: some/thing\n", {"plugin": "qwen", "id": "some/thing"}),
    ]
    found = [model(tmp_path, text, number) for number, (text, _) in enumerate(cases)]
    assert [item for item, _ in found] == [wanted for _, wanted in cases]
    assert [lost for _, lost in found][4] == ["model.adapter"]
    assert [lost for _, lost in found][6] == ["model"]


def test_grammars(tmp_path) -> None:
    head = "name: x\ninitial_context: {user_template: hi}\ntools: [{name: say}]\n"
    cases = [
        ("model: {plugin: qwen, grammar: {mode: json_schema, args_format: json}}\n", "json_schema"),
        ("model: {plugin: function_gemma, grammar: {mode: json_schema}}\n", None),
        ("model: {plugin: qwen, grammar: {mode: structural_tag}}\n", "structural_tag"),
        ("model: qwen\ngrammar: {strategy: ebnf, allow_parallel_calls: yes}\n", "ebnf"),
    ]
    for number, (text, mode) in enumerate(cases):
        new, lost, wrong = migrated(tmp_path / f"g{number}", head + text)
        assert (new["grammar"].get("mode"), wrong) == (mode, [])
        assert ("model.grammar.mode" in lost) == (number == 1)
    assert new["grammar"]["parallel_calls"] is True


def test_templates_get_the_variables_that_prompts_have(tmp_path) -> None:
    text = "a: {{ input }}\n{% if input %}b{% endif %}{{ target }} {{ node_name }}"
    manifest = "name: x\nmodel: {plugin: qwen}\ntools: [{name: say}]\n"
    manifest += f"initial_context: {{user_template: {json.dumps(text)}}}\n"
    _, _, wrong = migrated(tmp_path / "b", manifest)
    assert wrong == []
    user = (tmp_path / "b/prompts/user.md.j2").read_text()
    head, _, rest = user.partition("\n")
    assert head == "{% set input = node_text -%}"
    assert rest == "a: {{ node_text }}\n{% if input %}b{% endif %}{{ file_path }} {{ node_name }}\n"


def test_a_variable_that_nothing_gives_remains_a_finding(tmp_path) -> None:
    manifest = "name: x\nmodel: qwen\nagents_dir: tools\ninitial_context: {user_template: '{{ wisdom }}'}\n"
    _, _, wrong = migrated(tmp_path / "b", manifest)
    assert wrong == ["P002"]
    assert engine("migrate", tmp_path / "b").return_value == 0


def test_inputs_are_merged_by_property(tmp_path) -> None:
    script = 'from grail import Input\n\nword: str = Input("word")\ncount: int = Input("count", default=1)\n'
    for name in ("node_text", "target_file_input"):
        script += f'{name}: str = Input("{name}", default="")\n'
    script += "word\n"
    manifest = """name: x
model: {plugin: qwen}
initial_context: {user_template: hi}
tools:
  - name: say
    inputs_override:
      word: {type: string, description: The word., max_length: 9}
      count: {type: string, default: many}
      node_text: {description: The code.}
      gone: {description: No input.}
"""
    new, lost, wrong = migrated(tmp_path / "b", manifest, **{"tools/say.pym": script})
    assert wrong == []
    assert new["tools"] == [
        {
            "path": "tools/say.pym",
            "inputs": {"word": {"description": "The word.", "max_length": 9}},
            "bind": {"target_file_input": "node.file_path"},
        }
    ]
    place = "tools[0].inputs_override"
    assert lost == [f"{place}.count.type", f"{place}.count.default", f"{place}.node_text", f"{place}.gone"]


def test_variables_are_mapped_to_the_names_of_inputs(tmp_path) -> None:
    script = 'from grail import Input\n\npath_value: str = Input("path")\npath_value\n'
    manifest = "name: x\nmodel: {plugin: qwen}\ninitial_context: {user_template: hi}\n"
    manifest += "tools: [{name: say, inputs_override: {path: {description: Where.}}}]\n"
    make(tmp_path / "b", manifest, **{"tools/say.pym": script})
    (item,) = plan_migrations(tmp_path / "b")
    assert "path_value: {description: Where.}" in item.files["bundle.yaml"].decode()
    assert {found.code for found in item.diagnostics} == {"T004"}  # the script's own finding


def test_permissions_are_what_the_scripts_do(tmp_path) -> None:
    script = """from typing import Any

from grail import external

@external
async def run_command(cmd: str, args: list[str]) -> dict[str, Any]: ...

@external
async def write_file(path: str, content: str) -> bool: ...

await run_command("python", ["-m", "pytest", "-q"])
await run_command(cmd="git", args=["status"])
words = ["check", "--fix"] + ["x"]
await run_command("ruff", words)
name = "mypy"
await run_command(name, [])
await write_file("x", "y")
"""
    new, lost, wrong = migrated(tmp_path / "b", OLD["flat"], **{"tools/say.pym": script})
    assert new["permissions"] == {
        "write": ["**/*"],
        "run": [["python", "-m", "pytest"], ["git", "status"], ["ruff", "check"]],
    }
    assert lost == ["the document"]
    assert wrong == []


def test_a_tool_that_is_no_script_is_lost(tmp_path) -> None:
    manifest = """name: x
model: {plugin: qwen}
initial_context: {user_template: hi}
registries: [{type: grail, config: {agents_dir: tools, cache_schemas: true}}, {type: python, config: {module: m}}]
tools:
  - {name: say, registry: grail}
  - {name: other, registry: python}
  - 7
  - {}
"""
    new, lost, wrong = migrated(tmp_path / "b", manifest)
    assert (new["tools"], wrong) == (["tools/say.pym"], [])
    assert lost == ["registries[0].config.cache_schemas", "registries[1]", "tools[1]", "tools[2]", "tools[3]"]


def test_scripts_that_are_not_there_remain_findings(tmp_path) -> None:
    manifest = OLD["model mapping"].replace(
        "[{name: say}]", "[{name: say}, {name: gone, context_providers: [../../x.pym]}]"
    )
    new, _, wrong = migrated(tmp_path / "b", manifest)
    assert new["tools"][1] == {"path": "tools/gone.pym", "context": ["x"]}
    assert wrong == ["L003", "L003"]


def test_unknown_and_unfit_values_are_lost_and_named(tmp_path) -> None:
    manifest = (
        OLD["flat"]
        + "zebra: {stripes: 9}\nnode_types: {a: 1}\nmax_turns: many\npriority: [1]\nlimits: {memory: 9, seconds: 5}\n"
    )
    new, lost, wrong = migrated(tmp_path / "b", manifest)
    assert sorted(lost) == ["limits.memory", "max_turns", "node_types", "priority", "zebra"]
    assert (new["limits"], wrong) == ({"seconds": 5}, [])


def test_node_types(tmp_path) -> None:
    new, _, wrong = migrated(tmp_path / "b", OLD["flat"] + "node_types: [array_table, section]\n")
    assert (new["nodes"], wrong) == ({"types": ["table_array", "section"]}, [])
    _, _, wrong = migrated(tmp_path / "c", OLD["flat"] + "node_types: [gadget]\n")
    assert wrong == ["R007"]  # never all nodes instead of none


def test_what_lies_beside_the_bundle_is_copied_into_it(tmp_path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/hello.pym").write_text(SCRIPT)
    manifest = OLD["subagent"].replace("tools/say.pym", "shared/hello.pym")
    new, _, wrong = migrated(tmp_path / "b", manifest)
    assert (new["tools"][0]["path"], wrong) == ("tools/hello.pym", [])
    assert (tmp_path / "b/tools/hello.pym").read_text() == SCRIPT


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../../secret.pym", "~/x.pym", "a\\b.pym", "x\0.pym", "../b2/../../secret.pym"]
)
def test_what_lies_further_out_is_not_read(path: str, tmp_path) -> None:
    (tmp_path / "secret.pym").write_text("'secret'\n")
    manifest = OLD["subagent"].replace("tools/say.pym", json.dumps(path))
    make(tmp_path / "agents/b", manifest)
    (item,) = plan_migrations(tmp_path / "agents/b")
    assert all(b"secret'" not in content for content in item.files.values())
    assert item.errors


def test_existing_prompts_are_not_overwritten(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"], **{"prompts/system.md.j2": "mine\n"})
    engine("migrate", tmp_path / "b")
    assert (tmp_path / "b/prompts/system.md.j2").read_text() == "mine\n"
    assert read(tmp_path / "b")["prompts"]["system"] == "prompts/system-2.md.j2"
    assert validate([tmp_path / "b"]) == []


def test_what_a_killed_migration_left_is_taken_up(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"])
    (item,) = plan_migrations(tmp_path / "b")
    for name, content in item.files.items():
        if name != item.name:
            (tmp_path / "b" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "b" / name).write_bytes(content)
    (tmp_path / "b/bundle.yaml.old").write_bytes(item.before)
    assert engine("migrate", tmp_path / "b").return_value == 0
    assert sorted(path.name for path in (tmp_path / "b/prompts").iterdir()) == ["system.md.j2", "user.md.j2"]
    assert validate([tmp_path / "b"]) == []


def test_bundles_in_bundles_each_get_a_place(tmp_path) -> None:
    make(tmp_path / "a", OLD["flat"])
    make(tmp_path / "a/inner", OLD["flat"].replace("a_b", "inner"))
    assert engine("migrate", tmp_path / "a", "--to", tmp_path / "new").return_value == 0
    names = {path.parent.relative_to(tmp_path / "new").as_posix() for path in (tmp_path / "new").rglob("bundle.yaml")}
    assert {"a", "inner"} <= names


def test_a_linked_manifest_becomes_a_file(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"])
    (tmp_path / "b/bundle.yaml").rename(tmp_path / "elsewhere.yaml")
    (tmp_path / "b/bundle.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert engine("migrate", tmp_path / "b").return_value == 0
    assert (tmp_path / "elsewhere.yaml").read_text() == OLD["flat"]
    assert not (tmp_path / "b/bundle.yaml").is_symlink()
    assert validate([tmp_path / "b"]) == []


# -- inputs that are none, and places that refuse


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("name: [", "Y001"),
        ("a: &x [*x]\n", "Y003"),
        ("- 1\n", "Y005"),
        ("name: a\nname: b\n", "Y002"),
        ("", "Y005"),
        ("a: !!python/object:x y\n", "Y007"),
        ("model: qwen\nx: " + "y" * 300_000, "L007"),
    ],
)
def test_a_manifest_that_cannot_be_read(text: str, code: str, tmp_path) -> None:
    make(tmp_path / "b", text)
    before = tree(tmp_path / "b")
    result = engine("migrate", tmp_path / "b", "--json")
    assert result.return_value == 2
    (report,) = json.loads(result.stdout)
    assert (report["status"], [item["code"] for item in report["findings"]]) == ("unusable", [code])
    assert code in result.stderr
    assert tree(tmp_path / "b") == before


def test_bytes_that_are_no_text(tmp_path) -> None:
    (make(tmp_path / "b", "") / "bundle.yaml").write_bytes(b"name: \xff\n")
    assert "L006" in engine("migrate", tmp_path / "b").stderr


def test_a_shape_that_nobody_knows(tmp_path) -> None:
    result = engine("migrate", make(tmp_path / "b", "alpha: 1\nbeta: 2\n"))
    assert result.return_value == 2
    assert "none of the shapes" in result.stderr
    assert "alpha, beta" in result.stderr


def test_the_present_format_is_left_alone(tmp_path) -> None:
    text = "format: 1\nname: x\ndescription: y\nmodel: {plugin: qwen}\nprompts: {user: u}\ntools: [tools/say.pym]\n"
    make(tmp_path / "b", text)
    result = engine("migrate", tmp_path / "b")
    assert (result.return_value, "nothing to do" in result.stdout) == (0, True)
    make(tmp_path / "c", text.replace("format: 1\n", ""))
    assert "engine validate --fix" in engine("migrate", tmp_path / "c").stdout


def test_one_bad_bundle_does_not_keep_the_others(tmp_path) -> None:
    make(tmp_path / "a/good", OLD["flat"])
    make(tmp_path / "a/bad", "name: [")
    result = engine("migrate", tmp_path / "a")
    assert result.return_value == 2
    assert validate([tmp_path / "a/good"]) == []
    assert (tmp_path / "a/bad/bundle.yaml").read_text() == "name: ["


def test_paths_that_hold_nothing(tmp_path) -> None:
    for path in (tmp_path / "gone", tmp_path):
        with pytest.raises(ConfigError, match=path.as_posix()):
            plan_migrations(path)


def test_several_subagent_files_in_one_folder_need_a_place(tmp_path) -> None:
    for name in ("one", "two"):
        make(tmp_path / "agents", OLD["subagent"].replace("a_b", name), f"{name}_subagent.yaml")
    result = engine("migrate", tmp_path / "agents")
    assert result.return_value == 2
    assert "--to FOLDER" in result.stderr
    assert engine("migrate", tmp_path / "agents", "--to", tmp_path / "new").return_value == 0
    assert [read(tmp_path / "new" / name)["name"] for name in ("one", "two")] == ["one", "two"]


def test_a_manifest_alone_is_a_path_too(tmp_path) -> None:
    folder = make(tmp_path / "b", OLD["subagent"], "odd_name.yaml")
    assert engine("migrate", folder / "odd_name.yaml", "--name", "neat").return_value == 0
    assert read(folder)["name"] == "neat"
    assert (folder / "odd_name.yaml.old").exists()


def test_names_that_are_none(tmp_path) -> None:
    new, _, wrong = migrated(tmp_path / "b", OLD["flat"].replace("a_b", "My Agent!"))
    assert (new["name"], wrong) == ("my_agent", [])
    make(tmp_path / "a/c", OLD["flat"])
    make(tmp_path / "a/d", OLD["flat"])
    with pytest.raises(ConfigError, match="--name is for one"):
        plan_migrations(tmp_path / "a", name="x")


def test_a_target_that_is_there_is_refused(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"])
    (tmp_path / "new").mkdir()
    (tmp_path / "new/mine").write_text("x")
    with pytest.raises(ConfigError, match="is there already"):
        plan_migrations(tmp_path / "b", tmp_path / "new")
    with pytest.raises(ConfigError, match="outside of it"):
        plan_migrations(tmp_path / "b", tmp_path / "b/new")
    (tmp_path / "empty").mkdir()
    assert engine("migrate", tmp_path / "b", "--to", tmp_path / "empty").return_value == 0
    assert validate([tmp_path / "empty"]) == []


def test_a_manifest_that_changed_meanwhile_is_left_alone(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"])
    (item,) = plan_migrations(tmp_path / "b")
    (tmp_path / "b/bundle.yaml").write_text("# mine\n")
    before = tree(tmp_path / "b")
    with pytest.raises(ConfigError, match="changed meanwhile"):
        write_migration(item)
    assert tree(tmp_path / "b") == before


def test_what_cannot_be_written_leaves_everything_as_it_was(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"])
    (item,) = plan_migrations(tmp_path / "b")
    (tmp_path / "b/prompts").mkdir()
    (tmp_path / "b/prompts/user.md.j2").mkdir()
    before = tree(tmp_path / "b")
    with pytest.raises(ConfigError, match=r"prompts/user\.md\.j2"):
        write_migration(item)
    assert tree(tmp_path / "b") == before
    (item,) = plan_migrations(tmp_path / "b", tmp_path / "f/new")
    (tmp_path / "f").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_migration(item)


def test_a_prompts_folder_that_leads_out_is_not_written_to(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "b/prompts").symlink_to(tmp_path / "elsewhere")
    result = engine("migrate", tmp_path / "b")
    assert result.return_value == 2
    assert "leads out of the bundle" in result.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert read(tmp_path / "b")["model"] == "qwen"


def test_a_folder_with_more_than_it_needs(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"], **{"x_subagent.yaml": "name: other\n", ".git/config": "x", "notes.txt": "n"})
    assert engine("migrate", tmp_path / "b", "--to", tmp_path / "new").return_value == 0
    assert sorted(tree(tmp_path / "new")) == [
        "bundle.yaml",
        "notes.txt",
        "prompts/system.md.j2",
        "prompts/user.md.j2",
        "tools/say.pym",
        "x_subagent.yaml",
    ]


def test_hostile_names_do_not_drive_the_terminal(tmp_path) -> None:
    make(tmp_path / "b", OLD["flat"] + '"k\\e[31m": 1\npriority: "\\e]0;x"\n')
    result = engine("migrate", tmp_path / "b")
    assert result.return_value == 0
    assert "\x1b" not in result.output

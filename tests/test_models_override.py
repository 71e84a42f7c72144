"""The model family that answers: the bundle's, `operations.X.plugin`, `--plugin`; each writes and reads its own way."""

import json
from pathlib import Path

import pytest
from projects import MANIFEST, make_bundle
from test_cli import engine as command

import engine
from engine.bundle import load_bundle
from engine.errors import ConfigError
from engine.messages import ToolCall
from engine.models import PLUGINS, get_plugin

NAMES = sorted(PLUGINS)
CALL = ToolCall("1", "add_comment", {"comment": "does it"})
SIGNS = {
    "function_gemma": "<start_function_declaration>declaration:add_comment",
    "llama3": "Given the following functions, please respond with a JSON",
    "openai": "",
    "qwen": "return a json object with function name and arguments",
    "qwen_coder": "<function=example_function_name>",
    "smollm": "return a json object with function name and arguments",
}


def _speaks(server, name: str) -> None:
    """Let the server answer as a model of the family does."""
    server.text = get_plugin(name).format_calls([CALL])


def _check(server, name: str, result) -> None:
    assert (result.status, result.count("finished")) == ("finished", 1), result.tasks
    body = server.bodies[-1]
    assert SIGNS[name] in json.dumps(body["messages"])
    assert ("tools" in body) is (name == "openai")
    assert ("structured_outputs" in body) is (name != "openai")


async def _run(bundle: Path, project: Path, server, **settings):
    return await engine.run(bundle, [project], project=project, base_url=server.api, limit=1, **settings)


@pytest.mark.parametrize("name", NAMES)
async def test_the_argument_goes_before_the_operation_and_the_bundle(name, bundle, project, server) -> None:
    (project / "engine.yaml").write_text("operations: {notes: {bundle: note, plugin: smollm}}\n")
    _speaks(server, name)
    _check(server, name, await _run(bundle, project, server, plugin=name))


@pytest.mark.parametrize("name", NAMES)
async def test_the_operation_goes_before_the_bundle(name, bundle, project, server) -> None:
    (project / "engine.yaml").write_text(f"operations: {{notes: {{bundle: note, plugin: {name}}}}}\n")
    _speaks(server, name)
    _check(server, name, await _run(bundle, project, server))


@pytest.mark.parametrize("name", NAMES)
async def test_the_bundle_names_its_family(name, tmp_path, project, server) -> None:
    path = make_bundle(tmp_path / "own", MANIFEST.replace("plugin: qwen", f"plugin: {name}"))
    loaded = load_bundle(path)
    assert loaded.get_plugin().name == name
    assert [loaded.get_plugin(other).name for other in NAMES] == NAMES
    _speaks(server, name)
    _check(server, name, await _run(path, project, server))


@pytest.mark.parametrize("name", ["llama3", "openai"])
def test_the_command_line_names_it(name, bundle, project, server) -> None:
    _speaks(server, name)
    done = command(
        "run", bundle, "--target", "src", "--plugin", name, "--base-url", server.api, "--limit", "1", cwd=project
    )
    assert done.returncode == 0, done.stderr
    assert SIGNS[name] in json.dumps(server.bodies[-1]["messages"])
    shown = command("render", bundle, "-t", "src/a.py::first", "--plugin", name, "--base-url", server.api, cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert SIGNS[name] in shown.stdout


@pytest.mark.parametrize(("wrong", "right"), [("llama", "llama3"), ("open_ai", "openai"), ("qwen_codr", "qwen_coder")])
async def test_an_unknown_name_lists_the_names(wrong, right, bundle, project, server) -> None:
    problem = rf"unknown model plugin '{wrong}'; did you mean '{right}'\? known: {', '.join(NAMES)}"
    with pytest.raises(ConfigError, match=problem):
        load_bundle(bundle).get_plugin(wrong)
    with pytest.raises(ConfigError, match=problem):
        await _run(bundle, project, server, plugin=wrong)
    (project / "engine.yaml").write_text(f"operations: {{notes: {{bundle: note, plugin: {wrong}}}}}\n")
    with pytest.raises(ConfigError, match=problem):
        await _run(bundle, project, server)
    assert server.bodies == []


async def test_a_family_that_cannot_constrain_as_the_bundle_asks_is_refused(tmp_path, project, server) -> None:
    free = make_bundle(tmp_path / "free", MANIFEST + "grammar: {strategy: strict_json}\n")
    with pytest.raises(ConfigError, match="'openai' has no grammar strategy 'strict_json'"):
        await _run(free, project, server, plugin="openai")
    assert server.bodies == []

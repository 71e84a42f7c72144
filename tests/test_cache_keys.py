"""What a result is stored under: everything that determines it, and nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_parts import ScriptedBackend
from projects import MANIFEST, SOURCE, TOOL, make_bundle
from scripted_server import ScriptedServer

from engine.backends import EmbeddedBackend, OpenAIBackend, identity_of
from engine.backends.identity import weights_digest
from engine.bundle import Bundle, load_bundle
from engine.discovery import CodeNode, parse_file
from engine.kernel import PromptBuilder
from engine.manifest.bundle_model import McpServer, McpTool, PythonTool
from engine.models import get_plugin
from engine.prompts import Templates
from engine.prompts.seen import EVERYTHING, names_seen
from engine.run.cache.key import POSITIONS, make_key, make_scene, node_fields, positions_seen, why_uncachable
from engine.run.cache.record import text_digest
from engine.run.cache.semantics import SEMANTICS
from engine.run.plan import Assignment, Task
from engine.run.render import render_task
from engine.run.stage import Services
from engine.tools import ScriptRunner

SERVED = {"model": "m", "server": "a script"}
PARAMS = """\
params:
  style: {type: string, default: google, description: Style.}
  depth: {type: integer, default: 1, description: Depth.}
"""
NODE = next(node for node in parse_file(SOURCE.encode(), "src/a.py", "python") if node.name == "second")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(make_bundle(tmp_path_factory.mktemp("b") / "note", MANIFEST + PARAMS))


def key_of(bundle: Bundle, node: CodeNode = NODE, *, note: str = "", served=SERVED, **settings) -> str:
    params = {"style": "google", "depth": 1} | settings.pop("params", {})
    assignment = Assignment(bundle, settings.pop("plugin", None) or bundle.get_plugin(), params, **settings)
    return make_key(Task("t", assignment, node, note), make_scene(assignment, served)).digest


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"style": "numpy"}},
        {"params": {"depth": 2}},
        {"params": {"depth": True}},
        {"seed": 7},
        {"adapter": "docs"},
        {"adapters": False},
        {"unconstrained": True},
        {"note": "Be brief."},
        {"plugin": get_plugin("smollm")},
        {"served": {**SERVED, "model": "n"}},
        {"served": {**SERVED, "server": "another"}},
        {"served": {**SERVED, "model weights": "0"}},
        {"node": replace(NODE, text=NODE.text + " ")},
        {"node": replace(NODE, docstring="It has one.")},
        {"node": replace(NODE, file_path="src/b.py")},
        {"node": replace(NODE, node_id="0" * 16)},
        {"node": replace(NODE, type="method")},
        {"node": replace(NODE, qualified_name="A.second")},
    ],
)
def test_each_thing_that_determines_a_result_gives_another_key(plain, change) -> None:
    assert key_of(plain, **change) != key_of(plain)


def test_settings_that_say_nothing_about_a_result_give_the_same_key(plain) -> None:
    for change in ({"priority": "high"}, {"operation": "docs"}, {"auto_accept": True}, {"paths": ("src/**",)}):
        assert key_of(plain, **change) == key_of(plain)
    assert key_of(plain, served=dict(reversed(SERVED.items()))) == key_of(plain)


@pytest.mark.parametrize("file", ["bundle.yaml", "prompts/user.md.j2", "tools/add_comment.pym", "README.md"])
def test_each_file_of_a_bundle_counts_but_its_cases(plain, tmp_path, file) -> None:
    folder = make_bundle(tmp_path / "note", MANIFEST + PARAMS)
    assert key_of(load_bundle(folder)) == key_of(plain)
    path = folder / file
    comment = "{# more #}" if file.endswith("j2") else "\n# more\n"
    path.write_text((path.read_text() if path.exists() else "") + comment)
    assert key_of(load_bundle(folder)) != key_of(plain)


def test_the_cases_of_a_bundle_are_no_part_of_it(tmp_path) -> None:
    folder = make_bundle(tmp_path / "note", MANIFEST + PARAMS + "tests: tests/*.yaml\n")
    (folder / "tests").mkdir()
    case = "format: 1\ncases:\n  - {name: a function, source: 'def f(): pass'}\n"
    (folder / "tests/c.yaml").write_text(case)
    before = key_of(load_bundle(folder))
    (folder / "tests/c.yaml").write_text(case + "  - {name: another, source: 'def g(): pass'}\n")
    assert key_of(load_bundle(folder)) == before


@given(st.lists(st.sampled_from(POSITIONS), min_size=1, unique=True), st.integers(1, 1000))
def test_where_a_node_stands_does_not_count_where_nothing_sees_it(names, shift) -> None:
    moved = replace(NODE, **{name: getattr(NODE, name) + shift for name in names})
    assert node_fields(moved, ()) == node_fields(NODE, ())
    assert node_fields(moved) != node_fields(NODE)


SEEN = [
    ("{{ node.name }}", ()),
    ("{{ node.text }} at {{ file_path }}", ()),
    ("{{ node.start_line }}", ("start_line",)),
    ("{{ node['end_byte'] }}", ("end_byte",)),
    ("{{ end_line }}", ("end_line",)),
    ("{% if node.start_line > 3 %}late{% endif %}", ("start_line",)),
    ("{% set n = node %}{{ n.name }}", POSITIONS),
    ("{{ node }}", POSITIONS),
    ("{{ node.get('start_line') }}", POSITIONS),
    ("{{ [node] | map(attribute='start_line') | list }}", POSITIONS),
    ("{% for key in node %}{{ key }}{% endfor %}", POSITIONS),
    ("{% include 'prompts/part.md.j2' %}", ("start_line",)),
]


@pytest.mark.parametrize(("template", "expected"), SEEN)
def test_positions_count_where_a_template_sees_them(tmp_path, template, expected) -> None:
    folder = make_bundle(tmp_path / "note")
    (folder / "prompts/user.md.j2").write_text(template)
    (folder / "prompts/part.md.j2").write_text("{{ node.start_line }}")
    assert positions_seen(load_bundle(folder)) == expected


METADATA = (
    TOOL.replace("get_node_source() -> str", "get_node_metadata() -> dict")
    .replace("await get_node_source()", "await get_node_metadata()")
    .replace(").partition", ")['name'].partition")
)


@pytest.mark.parametrize(
    ("manifest", "tool", "expected"),
    [
        ("", TOOL.replace("@external", 'start_line: int = Input("start_line")\n\n@external', 1), ("start_line",)),
        ("", METADATA, ()),
        ("", METADATA.replace("['name']", "['start_line']"), ("start_line",)),
        ("", METADATA.replace("(await get_node_metadata())['name']", "str(await get_node_metadata())"), POSITIONS),
        ("    bind: {comment: 'node.end_line|string'}\n", TOOL, ("end_line",)),
        ("    bind: {comment: node.name}\n", TOOL, ()),
    ],
)
def test_positions_count_where_a_script_or_an_expression_sees_them(tmp_path, manifest, tool, expected) -> None:
    text = MANIFEST.replace("loop:", manifest + "loop:") if manifest else MANIFEST
    text = text.replace("    inputs: {comment: {max_length: 60}}\n", "") if manifest else text
    bundle = load_bundle(make_bundle(tmp_path / "note", text, tool))
    assert positions_seen(bundle) == expected


def test_what_cannot_be_told_counts_as_everything() -> None:
    templates = Templates({"a": "{% include ['b', name] %}", "b": "{{ node.name }}"}, "r")
    assert EVERYTHING in names_seen(templates, ["a"], [], "node")
    assert EVERYTHING in names_seen(templates, ["gone"], [], "node")
    assert EVERYTHING in names_seen(templates, [], ["node.name +"], "node")
    assert names_seen(templates, ["b"], ["{'a': {}}[node.text]"], "node") == {"node.name", "node.text"}


def test_tools_that_nobody_can_follow_are_never_cached(plain) -> None:
    python, mcp = PythonTool(python="a.b:c"), McpTool(mcp=McpServer(command=("uvx",), tools=("t",)))
    assert why_uncachable(plain) is None
    for tool, words in ((python, "the Python tool a.b:c"), (mcp, "the MCP server uvx")):
        bundle = replace(plain, manifest=plain.manifest.model_copy(update={"tools": (tool,)}))
        assert words in str(why_uncachable(bundle))


async def test_an_embedded_model_is_known_by_its_weights_and_not_started(weights: Path, tmp_path, monkeypatch) -> None:
    backend = EmbeddedBackend(weights)
    found = await identity_of(backend)
    assert (found["model"], backend.pid) == ("smollm2-135m-instruct", None)
    assert found["model weights"] == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert "xllamacpp" in found["server"]
    monkeypatch.setenv("ENGINE_CACHE_DIR", str(tmp_path))
    own = tmp_path / "own.gguf"
    own.write_bytes(b"one")
    first = weights_digest(own)
    assert first == text_digest("one") == weights_digest(own)
    own.write_bytes(b"two")
    assert weights_digest(own) == text_digest("two")
    (next((tmp_path / "digests").iterdir())).write_text("damaged")
    assert weights_digest(own) == text_digest("two")


async def test_a_server_is_known_by_its_model_and_software_wherever_it_is(server: ScriptedServer) -> None:
    server.models = [{"id": "m", "owned_by": "vllm", "root": "org/m-base"}]
    server.routes["/version"] = {"version": "0.11.0"}
    backend = OpenAIBackend(server.api)
    found = await identity_of(backend)
    named = await identity_of(backend, "other")
    await backend.aclose()
    assert found == {"model": "m", "server": "vLLM 0.11.0", "model root": "org/m-base"}
    assert named == {"model": "other", "server": "vLLM 0.11.0"}
    assert server.url not in json.dumps([found, named])


GOLDEN = "195dd04f565330a7"


async def test_the_semantics_are_raised_with_what_the_engine_does(tmp_path) -> None:
    """When this fails, the same task is asked for otherwise than before: raise SEMANTICS, then write both here."""
    bundle = load_bundle(make_bundle(tmp_path / "note"))
    asked = []
    async with ScriptRunner() as scripts:
        for name in ("qwen", "qwen_coder", "smollm", "llama3", "function_gemma", "openai"):
            plugin = get_plugin(name)
            task = Task("t", Assignment(bundle, plugin), NODE, "Name the result.")
            rendered = await render_task(task, Services(tmp_path, ScriptedBackend([""]), scripts))
            constraint = PromptBuilder(plugin, bundle.constraint_options()).constraint(bundle.tool_schemas, None)
            asked.append([rendered.messages, rendered.tools, constraint.kind, constraint.value])
    digest = text_digest(json.dumps(asked, sort_keys=True))[:16]
    assert (SEMANTICS, digest) == (1, GOLDEN)

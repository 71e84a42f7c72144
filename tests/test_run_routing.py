"""Who answers in a run, what a run needs before it starts, and the order of its tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kernel_parts import Memory, ScriptedBackend
from lora_samples import write_gguf_adapter
from projects import MANIFEST, make_bundle, make_project
from scripted_server import ScriptedServer
from test_cli import engine as command

import engine
from engine.app import App, RunRequest
from engine.backends import EmbeddedBackend, resolve_weights
from engine.errors import BackendRejected, BundleError, ConfigError
from engine.events import ModelResponded, RunPlanned, TaskFinished
from engine.run import Assignment, Task, grouped
from engine.run.routing import prepare

SERVED = "adapters: {red: {name: red}, blue: {name: blue}, other: {name: other, base: org/else}}\n"
PROVIDER = '"""Choose."""\nfrom grail import Input\n\nnode_name: str = Input("node_name")\n\n'


def manifest(*, adapter: str = "", routing: str = "", context: str = "", adapters: str = SERVED) -> str:
    """The usual manifest, with adapters."""
    extra = adapters
    extra += f"routing: {routing}\n" if routing else ""
    extra += f"context: {context}\n" if context else ""
    model = "model: {plugin: qwen," + (f" adapter: {adapter}," if adapter else "")
    return MANIFEST.replace("model: {plugin: qwen,", model).replace("tools:\n", extra + "tools:\n", 1)


@pytest.fixture
def lora(server: ScriptedServer) -> ScriptedServer:
    """A server that lists two adapters beside its model."""
    rows = [{"id": name, "owned_by": "vllm", "parent": "base"} for name in ("red", "blue", "green")]
    server.models = [{"id": "base", "owned_by": "vllm", "root": "org/base"}, *rows]
    return server


def asked(server: ScriptedServer) -> dict[str, list[str]]:
    """The models that were asked, turn by turn, for each node."""
    found: dict[str, list[str]] = {}
    for body in server.bodies:
        first = next(message for message in body["messages"] if message["role"] == "user")
        found.setdefault(first["content"].split(":", 1)[0].removeprefix("Comment "), []).append(body["model"])
    return found


def bundle_of(folder: Path, text: str, **providers: str) -> Path:
    made = make_bundle(folder, text)
    (made / "context").mkdir()
    for name, source in providers.items():
        (made / f"context/{name}.pym").write_text(PROVIDER + source)
    return made


CONTEXT = "[{name: who, path: context/who.pym, each: turn}]"
BY_NAME = "[{when: \"node.name == 'second'\", adapter: blue}]"
# The manifest, the provider, the flags → who answers `first` and `second`.
CASES: dict[str, tuple[dict[str, str], str, dict[str, Any], tuple[str, str]]] = {
    "the backend's default": ({}, "", {}, ("base", "base")),
    "the manifest's adapter goes before the default": ({"adapter": "red"}, "", {}, ("red", "red")),
    "--adapter goes before the manifest's": ({"adapter": "red"}, "", {"adapter": "blue"}, ("blue", "blue")),
    "a routing rule goes before --adapter": ({"routing": BY_NAME}, "", {"adapter": "red"}, ("red", "blue")),
    "an override goes before a routing rule": (
        {"routing": BY_NAME, "context": CONTEXT},
        '{"model_override": "red"}',
        {},
        ("red", "red"),
    ),
    "an override of some nodes": (
        {"routing": BY_NAME, "context": CONTEXT, "adapter": "red"},
        '{"model_override": "base" if node_name == "first" else None}',
        {},
        ("base", "blue"),
    ),
    "an override may name what only the server has": (
        {"context": CONTEXT},
        '{"model_override": "green"}',
        {},
        ("green", "green"),
    ),
    "none switches all of them off": (
        {"adapter": "red", "routing": BY_NAME, "context": CONTEXT},
        '{"model_override": "red"}',
        {"adapter": "none"},
        ("base", "base"),
    ),
    "one of another model is left out": ({"adapter": "other"}, "", {}, ("base", "base")),
    "an adapter sits on --model": ({"adapter": "red"}, "", {"model": "Org/Base"}, ("red", "red")),
}


@pytest.mark.parametrize("case", CASES)
async def test_the_first_of_the_sources_decides(tmp_path: Path, project: Path, lora: ScriptedServer, case: str) -> None:
    declared, provider, flags, expected = CASES[case]
    bundle = bundle_of(tmp_path / "b", manifest(**declared), **({"who": provider} if provider else {}))
    seen = Memory()
    flags = {"nodes": ["first", "second"], "base_url": lora.api, **flags}
    result = await engine.run(bundle, [project], project=project, observer=seen, **flags)
    assert result.status == "finished", [one.error for one in result.tasks]
    first, second = expected
    assert asked(lora) == {"first": [first], "second": [second]}
    names = {"base": None}
    assert {one.task.node.name: one.adapter for one in result.tasks}["second"] == names.get(second, second)
    answered = {event.node: event.adapter for event in seen.of(TaskFinished)}
    assert answered["first"] == names.get(first, first)
    assert {event.adapter for event in seen.of(ModelResponded)} == {names.get(one, one) for one in expected}


async def test_a_rule_about_the_last_tool_routes_the_next_turn(
    tmp_path: Path, project: Path, lora: ScriptedServer
) -> None:
    text = manifest(adapter="red", routing="[{after_tool: add_comment, adapter: blue}]")
    bundle = make_bundle(tmp_path / "b", text.replace(", termination_tool: add_comment", ""))
    await engine.run(bundle, [project], project=project, base_url=lora.api, nodes=["first"])
    assert asked(lora) == {"first": ["red", "blue", "blue"]}


@pytest.mark.parametrize(
    ("declared", "provider", "flags", "kind", "words"),
    [
        ({"adapter": "red"}, "", {"adapter": "other"}, ConfigError, "'other' of bundle 'note' does not fit .*org/else"),
        ({"adapter": "red"}, "", {"adapter": "pink"}, ConfigError, "has no adapter 'pink'; it has: red, blue, other"),
        ({"adapters": "adapters: {red: {name: gone}}\n", "adapter": "red"}, "", {}, BackendRejected, "adapter 'gone'"),
        ({"adapters": "adapters: {red: {name: gone}}\n", "context": CONTEXT}, "{}", {}, BackendRejected, "'gone'"),
        ({}, "", {"model": "huge"}, BackendRejected, r"has no model 'huge'; it has: base, red, blue, green\. Set"),
    ],
)
async def test_what_is_missing_is_said_before_anything_is_written(  # noqa: PLR0917 - one row of the table
    tmp_path: Path,
    project: Path,
    lora: ScriptedServer,
    declared: dict[str, str],
    provider: str,
    flags: dict[str, Any],
    kind: type[Exception],
    words: str,
) -> None:
    bundle = bundle_of(tmp_path / "b", manifest(**declared), who=provider)
    with pytest.raises(kind, match=words):
        await engine.run(bundle, [project], project=project, base_url=lora.api, **flags)
    assert (lora.bodies, (project / ".engine").exists()) == ([], False)


async def test_an_adapter_that_nothing_routes_to_is_not_needed(
    tmp_path: Path, project: Path, lora: ScriptedServer
) -> None:
    bundle = make_bundle(tmp_path / "b", manifest(adapters="adapters: {red: {name: gone}}\n"))
    assert (await engine.run(bundle, [project], project=project, base_url=lora.api)).status == "finished"


async def test_an_adapter_that_is_left_out_is_noted(tmp_path: Path, project: Path, lora: ScriptedServer) -> None:
    seen = Memory()
    bundle = make_bundle(tmp_path / "b", manifest(adapter="other"))
    await engine.run(bundle, [project], project=project, base_url=lora.api, observer=seen)
    [planned] = seen.of(RunPlanned)
    assert any(
        "'other' of bundle 'note' does not fit the model: it was trained on org/else" in n for n in planned.notes
    )


async def test_an_override_of_another_model_is_the_tasks_error(
    tmp_path: Path, project: Path, lora: ScriptedServer
) -> None:
    bundle = bundle_of(
        tmp_path / "b",
        manifest(context=CONTEXT),
        who='{"first": {"model_override": "other"}, "second": {"model_override": 7}}.get(node_name, {})',
    )
    result = await engine.run(bundle, [project], project=project, base_url=lora.api)
    errors = {one.task.node.name: str(one.error) for one in result.tasks if one.outcome == "failed"}
    assert set(errors) == {"first", "second"}
    assert "'other' was asked for by its name" in errors["first"]
    assert "the model_override of the context provider 'who' is 7" in errors["second"]


def tasks_of(project: Path, *assignments: Assignment) -> list[Task]:
    nodes = engine.discover([project])
    return [Task(f"{one.bundle.name}-{node.node_id[:12]}", one, node) for node in nodes for one in assignments]


def told(tasks: list[Task]) -> list[str]:
    return [f"{task.bundle.name} {task.node.name}" for task in tasks]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return make_project(tmp_path / "many", {"m.py": "\n\n".join(f"def f{n}(a):\n    return a\n" for n in range(6))})


def load(folder: Path, name: str, **declared: str) -> Any:
    return engine.load_bundle(make_bundle(folder / name, manifest(**declared).replace("name: note", f"name: {name}")))


def test_tasks_of_one_adapter_run_together(tmp_path: Path, many: Path) -> None:
    routing = (
        "[{when: \"turn == 1 and node.name in ['f1', 'f4']\", adapter: blue}, {when: \"turn > 1\", adapter: other}]"
    )
    bundle = load(tmp_path, "a", adapter="red", routing=routing)
    tasks = tasks_of(many, Assignment(bundle, bundle.get_plugin(), adapter="red"))
    tasks = [task for task in tasks if task.node.type == "function"]
    ordered = grouped(tasks)
    assert told(ordered) == [f"a f{n}" for n in (0, 2, 3, 5, 1, 4)]
    assert grouped(ordered) == ordered
    assert told(grouped([])) == []


def test_the_same_adapter_of_two_bundles_is_one_group(tmp_path: Path, many: Path) -> None:
    """What counts is the adapter itself: the same name of another server-side adapter is another group."""
    one, two = load(tmp_path, "one", adapter="red"), load(tmp_path, "two", adapter="red")
    same = [Assignment(bundle, bundle.get_plugin(), adapter="red") for bundle in (one, two)]
    functions = [task for task in tasks_of(many, *same) if task.node.type == "function"]
    assert grouped(functions) == functions
    other = load(tmp_path, "three", adapters="adapters: {red: {name: crimson}}\n", adapter="red")
    mixed = [same[0], Assignment(other, other.get_plugin(), adapter="red")]
    ordered = told(grouped(task for task in tasks_of(many, *mixed) if task.node.type == "function"))
    assert ordered == [f"one f{n}" for n in range(6)] + [f"three f{n}" for n in range(6)]


def test_priority_comes_first(tmp_path: Path, many: Path) -> None:
    low, high = load(tmp_path, "low", adapter="red"), load(tmp_path, "high", adapter="blue")
    chosen = [
        Assignment(low, low.get_plugin(), adapter="red", priority="low"),
        Assignment(high, high.get_plugin(), adapter="blue", priority="high"),
    ]
    ordered = [task.bundle.name for task in grouped(tasks_of(many, *chosen))]
    assert ordered == sorted(ordered)
    assert set(ordered) == {"high", "low"}


def test_a_rule_that_the_plan_cannot_evaluate_counts_as_the_default(tmp_path: Path, many: Path) -> None:
    text = manifest(adapter="red", routing='[{when: "context.who.urgent", adapter: blue}]', context=CONTEXT)
    bundle = engine.load_bundle(bundle_of(tmp_path / "a", text, who='{"urgent": True}'))
    tasks = tasks_of(many, Assignment(bundle, bundle.get_plugin(), adapter="red"))
    assert grouped(tasks) == tasks


async def test_the_limit_takes_the_first_nodes_and_then_they_are_grouped(
    tmp_path: Path, many: Path, lora: ScriptedServer
) -> None:
    routing = "[{when: \"node.name in ['f0', 'f2']\", adapter: red}]"
    bundle = make_bundle(tmp_path / "b", manifest(adapter="blue", routing=routing))
    request = RunRequest([bundle], [many], base_url=lora.api, limit=4)
    async with App.open(many, [many]).session(request) as session:
        assert [task.node.name for task in session.plan.tasks] == ["f0", "f2", "f1", "f3"]
        shown = [await session.render(task) for task in session.plan.tasks]
    assert [one.adapter for one in shown] == ["red", "red", "blue", "blue"]


async def test_a_rendered_request_shows_who_would_answer(tmp_path: Path, project: Path, lora: ScriptedServer) -> None:
    who = '{"first": {"model_override": "blue"}, "second": {"model_override": "green"}}.get(node_name, {})'
    bundle = bundle_of(tmp_path / "b", manifest(adapter="red", context=CONTEXT), who=who)
    left_out = make_bundle(tmp_path / "c", manifest(adapter="other").replace("name: note", "name: out"))
    request = RunRequest([bundle, left_out], [project], base_url=lora.api)
    async with App.open(project, [project]).session(request) as session:
        shown = [await session.render(task) for task in session.plan.tasks]
    found = [(one.node.rpartition("::")[2], one.model, one.adapter) for one in shown]
    assert found[:3] == [("first", "base", "blue"), ("second", "green", None), ("Thing.third", "base", "red")]
    assert {adapter for _, _, adapter in found[3:]} == {None}
    assert lora.bodies == []


async def test_operations_set_the_priority(tmp_path: Path, many: Path, lora: ScriptedServer) -> None:
    for name in ("aa", "zz"):
        make_bundle(many / "bundles" / name, MANIFEST.replace("name: note", f"name: {name}"))
    (many / "engine.yaml").write_text("operations: {one: {bundle: zz, priority: high}}\n")
    request = RunRequest(["aa", "zz"], [many / "m.py"], base_url=lora.api)
    async with App.open(many, [many]).session(request) as session:
        assert [task.bundle.name for task in session.plan.tasks] == ["zz"] * 6 + ["aa"] * 6


async def test_only_what_a_run_needs_is_prepared(tmp_path: Path) -> None:
    class Asked(ScriptedBackend):
        async def prepare(self, adapters: Any, models: Any = ()) -> None:
            self.requests.append(([one.name for one in adapters], list(models)))

    backend = Asked([])
    plain, routed = load(tmp_path, "plain", adapter="red"), load(tmp_path, "routed", routing=BY_NAME)

    def make(bundle: engine.Bundle, **more: Any) -> Assignment:
        return Assignment(bundle, bundle.get_plugin(), **more)

    await prepare(backend, [make(plain, adapter="red", model="m"), make(routed, model="m"), make(routed)])
    await prepare(backend, [make(plain, adapter="red", adapters=False)])
    assert backend.requests == [(["red", "blue"], ["m"]), ([], [])]


async def test_the_dry_run_shows_the_groups(tmp_path: Path, many: Path, lora: ScriptedServer) -> None:
    rule = "[{when: \"node.name in ['f1', 'f4']\", adapter: red}]"
    bundle = make_bundle(tmp_path / "b", manifest(routing=rule))
    options = [bundle, "--target", "m.py", "--dry-run", "--base-url", lora.api]
    shown = command("run", *options, cwd=many)
    assert "adapters in the first turns, one after the other: 4 without, 2 with red" in shown.stdout, shown.stderr
    rows = json.loads(command("run", *options, "--json", cwd=many).stdout)["tasks"]
    assert [row["adapter"] for row in rows] == [None] * 4 + ["red"] * 2


@pytest.mark.embedded
async def test_the_embedded_model_changes_its_adapter_by_turn(tmp_path: Path, project: Path, weights: Path) -> None:
    shipped = "adapters: {red: {gguf: lora/red.gguf}, blue: {gguf: lora/blue.gguf}}\n"
    routing = '[{when: "turn == 2", adapter: blue}]'
    text = manifest(adapters=shipped, adapter="red", routing=routing).replace("qwen", "smollm")
    text = text.replace(", termination_tool: add_comment", "").replace(
        "max_turns: 3", "max_turns: 3, on_no_call: finish"
    )
    bundle = make_bundle(tmp_path / "b", text)
    (bundle / "lora").mkdir()
    for seed, name in enumerate(("red", "blue"), 1):
        write_gguf_adapter(bundle / f"lora/{name}.gguf", weights, seed=seed)
    backend = EmbeddedBackend(resolve_weights("smollm2-135m-instruct"))
    seen = Memory()
    try:
        await engine.run(bundle, [project], project=project, backend=backend, observer=seen, nodes=["first"])
        answered = [(event.turn, event.model, event.adapter) for event in seen.of(ModelResponded)]
        assert answered == [(n, "smollm2-135m-instruct", name) for n, name in ((1, "red"), (2, "blue"), (3, "red"))]
        write_gguf_adapter(bundle / "lora/blue.gguf", weights, seed=2, extra=8)
        other = make_project(tmp_path / "other")
        with pytest.raises(BundleError, match="adapter 'blue' does not fit the model"):
            await engine.run(bundle, [other], project=other, backend=backend)
        assert not (other / ".engine").exists()
    finally:
        await backend.aclose()

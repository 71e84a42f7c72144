"""Operations of engine.yaml: which nodes they take, their order, what a failure means, what settings they bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kernel_parts import Memory
from projects import MANIFEST, call, make_bundle, make_project
from scripted_server import ScriptedServer
from test_cli import engine as command

from engine.app import App, RunRequest
from engine.errors import ConfigError
from engine.events import TaskFinished, TaskStarted

SOURCE = "def first(a):\n    return a\n\n\nclass Thing:\n    def third(self):\n        return self\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two files and the bundles lint and docs."""
    made = make_project(tmp_path / "project", {"src/a.py": SOURCE, "lib/b.py": "def other(b):\n    return b\n"})
    for name in ("lint", "docs"):
        make_bundle(made / "bundles" / name, MANIFEST.replace("name: note", f"name: {name}"))
    return made


def configure(project: Path, operations: str, run: str = "{}") -> App:
    """Write the settings and open the project."""
    (project / "engine.yaml").write_text(f"operations:\n{operations}run: {run}\n")
    return App.open(project)


async def planned(app: App, *bundles: str, **settings: Any) -> list[str]:
    """The ids of a plan's tasks, with the names of their nodes in place of the ids."""
    request = RunRequest(bundles, [app.root], base_url="http://127.0.0.1:9", **settings)
    async with app.session(request) as session:
        return [f"{one.task_id.rsplit('-', 1)[0]} {one.node.qualified_name}" for one in session.plan.tasks]


async def ran(app: App, server: ScriptedServer, *bundles: str, **settings: Any) -> tuple[Any, Memory]:
    seen = Memory()
    request = RunRequest(bundles, [app.root / "src"], base_url=server.api, cache=False, **settings)
    async with app.session(request) as session:
        return await session.run([seen]), seen


ALL = ["first", "Thing.third", "other"]


async def test_without_a_bundle_all_operations_run_that_are_enabled(project: Path) -> None:
    app = configure(project, "  a: {bundle: lint}\n  b: {bundle: lint}\n  c: {bundle: docs, enabled: false}\n")
    tasks = await planned(app)
    assert sorted(tasks) == sorted(f"{name} {node}" for node in ALL for name in ("a", "b"))


async def test_types_and_paths_route_nodes(project: Path) -> None:
    app = configure(
        project,
        "  methods: {bundle: lint, types: [method]}\n  lib: {bundle: docs, paths: ['lib/**'], priority: high}\n",
    )
    assert await planned(app) == ["lib other", "methods Thing.third"]


async def test_an_operation_or_a_bundle_can_be_named(project: Path) -> None:
    app = configure(project, "  methods: {bundle: lint, types: [method]}\n  all: {bundle: docs}\n")
    assert await planned(app, "methods") == ["methods Thing.third"]
    # The bundle itself: all that it takes.
    assert sorted(await planned(app, "lint")) == sorted(f"lint {node}" for node in ALL)
    assert len(await planned(app, "lint", "methods")) == 4


@pytest.mark.parametrize(
    ("bundles", "operations", "words"),
    [
        ([], {}, "no bundle is named, and engine.yaml has no operations"),
        ([], {"operations": ["ons"]}, "engine.yaml has no operation 'ons'; did you mean 'one'"),
        ([], {"operations": ["off_"]}, "operation 'off_' is switched off in engine.yaml"),
        (["off_"], {"configured": True}, "operation 'off_' is switched off in engine.yaml: set enabled: true"),
        (["lnt"], {}, "there is no bundle 'lnt', neither as a folder nor in bundles; did you mean 'lint'"),
        (["noe"], {"configured": True}, "there is no bundle 'noe'.*; did you mean 'one'"),
        (["lint", "lint"], {}, "'lint' would run twice at once"),
    ],
)
async def test_what_cannot_be_run_is_said(
    project: Path, bundles: list[str], operations: dict[str, Any], words: str
) -> None:
    app = App.open(project)
    if operations:
        app = configure(project, "  one: {bundle: lint}\n  off_: {bundle: lint, enabled: false}\n")
        operations = {key: value for key, value in operations.items() if key != "configured"}
    with pytest.raises(ConfigError, match=words):
        await planned(app, *bundles, **operations)


@pytest.mark.parametrize(
    ("operations", "words"),
    [
        ("  a: {bundle: lnt}\n", "names the bundle 'lnt', which is not in .*/bundles; did you mean 'lint'"),
        ("  a: {bundle: lint, types: [class]}\n", "leaves only nodes of type class, and its bundle 'lint' takes"),
        (
            "  a: {bundle: lint, after: [b]}\n  bb: {bundle: docs}\n",
            r"engine.yaml:2:29: S004 .* 'b'; did you mean 'bb'",
        ),
        ("  a: {bundle: lint, after: [b]}\n  b: {bundle: docs, after: [a]}\n", ":2:29: S006 .*'a' after 'b' after 'a'"),
        ("  a: {bundle: lint, after: [a]}\n", "'a' after 'a': none of them could ever start"),
        ("  a: {bundle: lint, after: [b]}\n  b: {bundle: docs, enabled: false}\n", ":2:29: S006 .* is switched off"),
    ],
)
async def test_settings_that_make_no_sense_are_found(project: Path, operations: str, words: str) -> None:
    app = configure(project, operations)
    with pytest.raises(ConfigError, match=words):
        await planned(app)


def test_an_operation_that_is_off_may_come_after_another_that_is(project: Path) -> None:
    configure(
        project,
        "  a: {bundle: lint, enabled: false, after: [b]}\n  b: {bundle: docs, enabled: false}\n  c: {bundle: docs}\n",
    )
    assert command("runs", cwd=project).returncode == 0


async def test_an_operation_runs_after_another_on_the_same_node(project: Path, server: ScriptedServer) -> None:
    app = configure(project, "  z: {bundle: docs, after: [a]}\n  a: {bundle: lint}\n")
    result, seen = await ran(app, server)
    assert (result.status, result.count("finished")) == ("finished", 4)
    order = [(type(one).__name__, one.task_id) for one in seen.events if isinstance(one, (TaskStarted, TaskFinished))]
    for node in ("first", "Thing.third"):
        ids = {one.task_id[:1]: one.task_id for one in seen.of(TaskStarted) if one.node == node}
        assert order.index(("TaskFinished", ids["a"])) < order.index(("TaskStarted", ids["z"]))


@pytest.mark.parametrize(
    ("policy", "outcomes", "status"),
    [
        ("skip_dependents", {"a": "failed", "z": "skipped", "other": "finished"}, "failed"),
        ("continue", {"a": "failed", "z": "finished", "other": "finished"}, "failed"),
        ("stop", {"a": "failed"}, "stopped"),
    ],
)
async def test_a_failure_means_what_the_policy_says(
    project: Path, server: ScriptedServer, policy: Any, outcomes: dict[str, str], status: str
) -> None:
    operations = "  z: {bundle: docs, after: [a]}\n  a: {bundle: lint, priority: high}\n  other: {bundle: docs}\n"
    app = configure(project, operations, f"{{on_failure: {policy}}}")
    server.text = lambda body: call("does it") if len(server.bodies) > 1 else "I would rather not."
    result, seen = await ran(app, server, nodes=["first"], concurrency=1)
    assert {one.task_id.rsplit("-", 1)[0]: one.outcome for one in seen.of(TaskFinished)} == outcomes
    assert result.status == status
    if policy == "stop":
        assert "a-" in result.problem
        assert "(first) failed" in result.problem
    skipped = [one for one in seen.of(TaskFinished) if one.outcome == "skipped"]
    assert all(one.reason == "after" and one.error.startswith("it comes after a-") for one in skipped)
    # The command line's policy goes before that of engine.yaml.
    server.requests.clear()
    result, seen = await ran(app, server, nodes=["first"], concurrency=1, on_failure="continue")
    assert {one.outcome for one in seen.of(TaskFinished)} == {"failed", "finished"}


async def test_each_operation_brings_its_own_settings(project: Path, server: ScriptedServer) -> None:
    manifest = MANIFEST.replace("name: note", "name: tone") + "params: {tone: {type: string, default: dry}}\n"
    bundle = make_bundle(project / "bundles/tone", manifest)
    (bundle / "prompts/user.md.j2").write_text("{{ params.tone }} {{ node.name }}")
    app = configure(
        project,
        "  warm: {bundle: tone, params: {tone: warm}, model: m}\n"
        "  cold: {bundle: tone, params: {tone: cold}, types: [function], auto_accept: true}\n",
    )
    result, _ = await ran(app, server)
    asked = sorted(body["messages"][-1]["content"] for body in server.bodies)
    assert asked == ["cold first", "warm first", "warm third"]
    assert [(one.task_id[:4], one.state) for one in result.decisions] == [("cold", "accepted")]
    held, _ = await ran(app, server, "cold", hold=True)
    assert held.decisions == ()


def test_the_command_line_runs_operations(project: Path, server: ScriptedServer) -> None:
    configure(project, "  fix: {bundle: lint, types: [method]}\n")
    done = command("run", "--target", "src", "--base-url", server.api, cwd=project)
    assert done.returncode == 0, done.stderr
    assert [body["messages"][-1]["content"].split(":")[0] for body in server.bodies] == ["Comment third"]
    server.text = "no"
    done = command(
        "run", "fix", "-t", "src", "--no-cache", "--on-failure", "stop", "--base-url", server.api, cwd=project
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (project / "engine.yaml").write_text("{}\n")
    done = command("run", "-t", "src", "--base-url", server.api, cwd=project)
    assert (done.returncode, "name a BUNDLE, or add operations" in done.stderr) == (2, True)

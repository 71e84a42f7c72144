"""The run room: plans, many tasks at once, isolation, checks, review, resilience."""

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kernel_parts import ScriptedBackend
from processes import descendants, wait_until_gone
from projects import MANIFEST, SOURCE, TOOL, call, make_bundle, make_project
from scripted_server import ScriptedServer, fails, slow

import engine
from engine.app import App
from engine.errors import BackendUnavailable, BundleError, ConfigError
from engine.events import RunFinished, TaskFinished, TaskStarted


class Seen:
    def __init__(self) -> None:
        self.events = []

    async def on_event(self, event) -> None:
        self.events.append(event)

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]


async def run(bundle: Path, project: Path, server: ScriptedServer, **settings):
    return await engine.run(bundle, [project], project=project, base_url=server.api, **settings)


def node_of(body) -> str:
    return body["messages"][-1]["content"].split(":", 1)[0].removeprefix("Comment ")


async def test_a_run_offers_changes_and_leaves_the_files_alone(bundle, project, server) -> None:
    seen = Seen()
    result = await run(bundle, project, server, observer=seen)
    assert (result.status, result.count("finished")) == ("finished", 3)
    assert (project / "src/a.py").read_text() == SOURCE
    assert {event.node for event in seen.of(TaskFinished)} == {"first", "second", "Thing.third"}
    assert [event.status for event in seen.of(RunFinished)] == ["finished"]
    assert {event.run_id for event in seen.events} == {result.run_id}


async def test_changes_of_several_nodes_of_one_file_all_apply(bundle, project, server) -> None:
    result = await run(bundle, project, server)
    review = App(project, engine_config()).review(result.run_id)
    decisions = review.accept()
    assert [one.state for one in decisions] == ["accepted"] * 3
    text = (project / "src/a.py").read_text()
    assert text.count("# does it") == 3
    assert text.replace("    # does it\n", "") == SOURCE.replace("        return self", "        return self")
    assert review.accept() == []
    assert (project / "src/a.py").read_text() == text


async def test_a_function_and_one_inside_it_both_change(bundle, tmp_path, server) -> None:
    source = "def outer(a):\n    def inner(b):\n        return b\n    return inner\n"
    project = make_project(tmp_path / "nested", {"m.py": source})
    result = await run(bundle, project, server, apply=True)
    assert [one.state for one in result.decisions] == ["accepted"] * 2
    assert (project / "m.py").read_text().replace("    # does it\n", "") == source


def engine_config():
    from engine.manifest import EngineConfig

    return EngineConfig()


async def test_apply_accepts_at_the_end(bundle, project, server) -> None:
    result = await run(bundle, project, server, apply=True)
    assert [one.state for one in result.decisions] == ["accepted"] * 3
    assert (project / "src/a.py").read_text().count("# does it") == 3


async def test_a_file_that_changed_meanwhile_is_refused_and_nothing_is_lost(bundle, project, server) -> None:
    result = await run(bundle, project, server)
    (project / "src/a.py").write_text(SOURCE + "\nx = 1\n")
    review = App(project, engine_config()).review(result.run_id)
    decisions = review.accept()
    assert {one.state for one in decisions} == {"refused"}
    assert "src/a.py" in decisions[0].reason
    assert (project / "src/a.py").read_text() == SOURCE + "\nx = 1\n"
    (project / "src/a.py").write_text(SOURCE)
    assert {one.state for one in review.accept()} == {"accepted"}


async def test_reject_drops_the_changes(bundle, project, server) -> None:
    result = await run(bundle, project, server)
    review = App(project, engine_config()).review(result.run_id)
    assert {one.state for one in review.reject(["*::second"])} == {"rejected"}
    assert {row.node for row in review.offered()} == {"src/a.py::first", "src/a.py::Thing.third"}
    review.accept()
    assert (project / "src/a.py").read_text().count("# does it") == 2


async def test_one_task_that_fails_touches_no_other(bundle, project, server) -> None:
    server.text = lambda body: "I would rather not." if node_of(body) == "second" else call("does it")
    result = await run(bundle, project, server)
    outcomes = {one.task.node.name: (one.outcome, one.reason) for one in result.tasks}
    assert outcomes == {
        "first": ("finished", "termination_tool"),
        "second": ("failed", "no_tool_call"),
        "third": ("finished", "termination_tool"),
    }
    assert result.status == "failed"
    assert len(result.changes) == 2


async def test_what_nobody_foresaw_breaks_one_task_only(bundle, project) -> None:
    class Odd(ScriptedBackend):
        def accepts(self, adapter):
            if not self.requests:
                self.requests.append("once")
                raise ZeroDivisionError("odd")
            return True

    manifest = MANIFEST.replace("tools:", "adapters: {a: {name: a}}\ntools:", 1)
    (bundle / "bundle.yaml").write_text(manifest)
    result = await engine.run(bundle, [project], project=project, backend=Odd([call("does it")]))
    assert sorted(one.outcome for one in result.tasks) == ["failed", "finished", "finished"]
    assert "ZeroDivisionError: odd" in [one.error for one in result.tasks]


async def test_a_change_that_does_not_parse_is_kept_and_never_taken_by_itself(tmp_path, project, server) -> None:
    tool = TOOL.replace('"    # " + comment', 'comment + "((("')
    result = await run(make_bundle(tmp_path / "b", tool=tool), project, server)
    assert {(one.outcome, one.reason) for one in result.tasks} == {("failed", "checks")}
    assert "does not parse" in str(result.tasks[0].error)
    assert len(result.changes) == 3
    assert {check.passed for task in result.tasks for check in task.checks} == {False}
    review = App(project, engine_config()).review(result.run_id)
    assert {(row.passed, *row.failed_checks) for row in review.offered()} == {(False, "parses")}
    assert {one.state for one in review.accept()} == {"refused"}
    assert (project / "src/a.py").read_text() == SOURCE


async def test_a_command_check_sees_the_change(tmp_path, project, server) -> None:
    check = '{run: [python, -c, "import sys; sys.exit(open(sys.argv[1]).read().count(\'# does it\') != 1)", "{file}"]}'
    manifest = MANIFEST.replace("[parses]", f"[{check}]")
    result = await run(make_bundle(tmp_path / "b", manifest=manifest), project, server)
    assert result.status == "finished"
    refusing = MANIFEST.replace("[parses]", """[{run: [python, -c, "import sys; sys.exit('no good')", "{file}"]}]""")
    result = await run(make_bundle(tmp_path / "c", manifest=refusing), project, server)
    assert {one.reason for one in result.tasks} == {"checks"}
    assert "no good" in str(result.tasks[0].error)


async def test_no_more_tasks_at_once_than_allowed(tmp_path, bundle, server) -> None:
    source = "\n\n".join(f"def f{n}(a):\n    return a\n" for n in range(20))
    project = make_project(tmp_path / "many", {"m.py": source})
    server.chat = [slow_call() for _ in range(20)]
    running, most = 0, 0

    class Counter:
        async def on_task_start(self, event) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)

        async def on_task_end(self, event) -> None:
            nonlocal running
            running -= 1

    result = await run(bundle, project, server, concurrency=4, observer=Counter())
    assert result.count("finished") == 20
    assert most == 4


def slow_call():
    from scripted_server import ok

    def reply(handler) -> None:
        time.sleep(0.02)
        ok(call("does it"))(handler)

    return reply


async def test_limit_and_node_patterns_choose_tasks(bundle, project, server) -> None:
    assert len((await run(bundle, project, server, limit=1)).tasks) == 1
    chosen = await run(bundle, project, server, nodes=["src/a.py::Thing.*"])
    assert [one.task.node.name for one in chosen.tasks] == ["third"]


async def test_params_reach_prompts_and_wrong_ones_are_refused(tmp_path, project, server) -> None:
    manifest = MANIFEST + "params: {tone: {type: string, enum: [dry, warm], default: dry}}\n"
    bundle = make_bundle(tmp_path / "b", manifest=manifest)
    (bundle / "prompts/user.md.j2").write_text("{{ params.tone }} {{ node.name }}")
    await run(bundle, project, server, params={"tone": "warm"}, limit=1)
    assert server.bodies[-1]["messages"][-1]["content"] == "warm first"
    with pytest.raises(ConfigError, match="tone"):
        await run(bundle, project, server, params={"tone": "loud"})
    with pytest.raises(ConfigError, match="tune"):
        await run(bundle, project, server, params={"tune": "dry"})


async def test_context_providers_and_bound_inputs(tmp_path, project, server) -> None:
    manifest = MANIFEST.replace(
        "loop:",
        "context: [{name: readme, path: context/readme.pym}]\nloop:",
    ).replace("    inputs: {comment", "    bind: {where: node.qualified_name}\n    inputs: {comment")
    tool = TOOL.replace("@external", 'where: str = Input("where")\n\n\n@external', 1)
    tool = tool.replace('"    # "', '"    # " + where + ": "')
    bundle = make_bundle(tmp_path / "b", manifest=manifest, tool=tool)
    (bundle / "context").mkdir()
    (bundle / "context/readme.pym").write_text(
        "from grail import external\n\n\n@external\nasync def read_file(path: str) -> str:\n    ...\n\n\n"
        'await read_file("README.md")\n'
    )
    (bundle / "prompts/user.md.j2").write_text("{{ context.readme }}|{{ node.name }}")
    (project / "README.md").write_text("All about it.")
    result = await run(bundle, project, server, limit=1, apply=True)
    assert result.status == "finished", result.tasks
    assert server.bodies[-1]["messages"][-1]["content"] == "All about it.|first"
    assert "where" not in json.dumps(server.bodies[-1])
    assert "    # first: does it\n" in (project / "src/a.py").read_text()


async def test_the_model_cannot_set_a_bound_input(tmp_path, project, server) -> None:
    manifest = MANIFEST.replace("    inputs: {comment", "    bind: {where: node.qualified_name}\n    inputs: {comment")
    tool = TOOL.replace("@external", 'where: str = Input("where")\n\n\n@external', 1)
    server.text = (
        '<tool_call>\n{"name": "add_comment", "arguments": {"comment": "a", "where": "elsewhere"}}\n</tool_call>'
    )
    result = await run(make_bundle(tmp_path / "b", manifest=manifest, tool=tool), project, server, limit=1)
    assert result.tasks[0].outcome == "failed"
    assert "where" in server.bodies[-1]["messages"][-1]["content"]


async def test_permissions_hold_for_tools(tmp_path, project, server) -> None:
    manifest = MANIFEST.replace('write: ["**/*.py"]', 'write: ["other/*.py"]')
    result = await run(make_bundle(tmp_path / "b", manifest=manifest), project, server, limit=1)
    assert result.tasks[0].outcome == "failed"
    assert "permission" in server.bodies[-1]["messages"][-1]["content"].lower()


async def test_line_endings_and_mode_survive(bundle, tmp_path, server) -> None:
    project = make_project(tmp_path / "p", {"a.py": "x"})
    path = project / "a.py"
    path.write_bytes(SOURCE.replace("\n", "\r\n").encode())
    path.chmod(0o755)
    result = await run(bundle, project, server, apply=True)
    assert result.status == "finished"
    data = path.read_bytes()
    assert data.count(b"# does it\r\n") == 3
    assert data.count(b"\n") == data.count(b"\r\n")
    assert path.stat().st_mode & 0o777 == 0o755


async def test_an_unreachable_server_is_one_error_before_anything_starts(bundle, project) -> None:
    seen = Seen()
    with pytest.raises(BackendUnavailable, match=r"127\.0\.0\.1:9"):
        await engine.run(bundle, [project], project=project, base_url="http://127.0.0.1:9/v1", observer=seen)
    assert seen.events == []
    assert not (project / ".engine").exists()


async def test_a_refused_request_fails_its_task_only(bundle, project, server) -> None:
    server.chat = [fails(400, "bad grammar")]
    result = await run(bundle, project, server, concurrency=1)
    assert [one.outcome for one in result.tasks] == ["failed", "finished", "finished"]
    assert "bad grammar" in str(result.tasks[0].error)


async def test_an_invalid_bundle_carries_its_findings(bundle, project, server) -> None:
    (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns", "max_turn"))
    with pytest.raises(BundleError) as caught:
        await run(bundle, project, server)
    assert [one.code for one in caught.value.diagnostics] == ["S001"]


async def test_cancelling_keeps_what_is_finished_and_closes_the_log(bundle, project, server) -> None:
    server.chat = [slow_call(), slow(30)]
    first_is_done = asyncio.Event()

    class Waiting:
        async def on_task_end(self, event) -> None:
            first_is_done.set()

    task = asyncio.create_task(run(bundle, project, server, concurrency=1, observer=Waiting()))
    await first_is_done.wait()
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    app = App(project, engine_config())
    with app.reader() as log:
        assert log.newest_run().status == "interrupted"
    assert [row.node for row in app.review().offered()] == ["src/a.py::first"]


async def test_seconds_stop_a_run(bundle, project, server) -> None:
    (project / "engine.yaml").write_text("run: {seconds: 0.5}\n")
    server.chat = [slow(5), slow(5), slow(5)]
    seen = Seen()
    result = await run(bundle, project, server, observer=seen)
    assert result.status == "stopped"
    assert {event.outcome for event in seen.of(TaskFinished)} == {"stopped"}
    assert len(seen.of(TaskFinished)) == len(seen.of(TaskStarted)) > 0


async def test_engine_yaml_operations_choose_params_and_plugin(tmp_path, project, server) -> None:
    manifest = MANIFEST + "params: {tone: {type: string, default: dry}}\n"
    bundle = make_bundle(tmp_path / "b", manifest=manifest)
    (bundle / "prompts/user.md.j2").write_text("{{ params.tone }} {{ model.plugin }}")
    (project / "engine.yaml").write_text(
        "operations: {notes: {bundle: note, params: {tone: warm}, plugin: smollm, auto_accept: true}}\n"
    )
    result = await run(bundle, project, server, limit=1)
    assert server.bodies[-1]["messages"][-1]["content"] == "warm smollm"
    assert [one.state for one in result.decisions] == ["accepted"]


async def test_tasks_see_the_workspace_not_the_discovery(tmp_path, project, server) -> None:
    """A node is found again in what the task itself wrote before."""
    tool = TOOL.replace(
        "head, newline",
        "first = await get_node_source()\nawait replace_node(first + '\\n# tail')\n"
        "assert (await get_node_source()).endswith('# tail')\n"
        "head, newline",
    )
    result = await run(make_bundle(tmp_path / "b", tool=tool), project, server, limit=1, apply=True)
    assert result.status == "finished", result.tasks[0].error
    assert (project / "src/a.py").read_text().startswith("def first(a):\n    # does it\n    return a\n# tail\n")


KILLED = """
import asyncio, pathlib, sys
import engine
bundle, project, url = sys.argv[1:]
asyncio.run(engine.run(bundle, [project], project=pathlib.Path(project), base_url=url, concurrency=2))
"""


@pytest.mark.parametrize("delay", [0.35, 0.6, 0.8, 1.0, 1.2])
def test_a_kill_leaves_files_untouched_and_a_readable_log(delay, bundle, tmp_path, server) -> None:
    source = "\n\n".join(f"def f{n}(a):\n    return a\n" for n in range(40))
    project = make_project(tmp_path / "many", {"m.py": source})
    server.text = lambda body: (time.sleep(0.02), call("does it"))[1]
    process = subprocess.Popen([sys.executable, "-c", KILLED, bundle, project, server.api])
    children = set()
    deadline = time.monotonic() + delay
    while time.monotonic() < deadline:
        children |= descendants(process.pid)
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (project / "m.py").read_text() == source
    assert wait_until_gone(children) == set()
    for name in ("events.db", "changes.db"):
        path = project / ".engine" / name
        if path.exists():
            with sqlite3.connect(path) as db:
                assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            db.close()
    with App(project, engine_config()).reader() as log:
        assert all(record.status == "interrupted" for record in log.runs())

"""Going on with a run that ended early: what is repeated, what is refused, and what is said."""

import asyncio
import contextlib
import os
import resource
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import MANIFEST, call, make_bundle, make_project
from resume_parts import (
    Launcher,
    check_databases,
    ends,
    events_of,
    launcher,
    many_functions,
    state_of,
    two_turn_bundle,
    two_turns,
)
from scripted_server import ScriptedServer, fails

from engine.app import App, ResumeRequest, RunRequest
from engine.app.recorded import request_from_json, request_to_json
from engine.errors import BackendError, BundleError, ConfigError, LogError
from engine.events import EventLog, TaskFinished, TaskStarted
from engine.manifest import EngineConfig
from engine.workspace import ChangeStore

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1).filter(
    lambda n: n not in (".", "..")
)
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: Path(*parts)), max_size=3)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
REQUESTS = st.builds(
    RunRequest,
    bundles=PATHS,
    targets=PATHS,
    params=st.dictionaries(st.text(), VALUES, max_size=3),
    model=st.none() | st.from_regex(r"[a-z][a-z0-9/-]*", fullmatch=True),
    adapter=st.none() | st.text(),
    plugin=st.none() | st.text(),
    base_url=st.none() | st.text(),
    concurrency=st.none() | st.integers(1, 1024),
    seed=st.none() | st.integers(0, 2**32 - 1),
    nodes=st.lists(st.text(), max_size=3).map(tuple),
    limit=st.none() | st.integers(1),
    allow_unconstrained=st.booleans(),
    hold=st.booleans(),
    changed_since=st.none() | st.text(),
    shard=st.none() | st.tuples(st.integers(1), st.integers(1)),
    cache=st.none() | st.booleans(),
    executor=st.sampled_from([None, "local", "ray"]),
    budget=st.dictionaries(st.text(), st.floats(0, 1e9), max_size=2),
    operations=st.lists(st.text(), max_size=3).map(tuple),
    on_failure=st.sampled_from([None, "skip_dependents", "continue", "stop"]),
)


@given(REQUESTS)
def test_a_request_comes_back_from_the_log_as_it_was(request: RunRequest) -> None:
    root = Path("/somewhere/project")
    values = request_to_json(request, root, Path)
    back = request_from_json(values, root)
    for field in fields(RunRequest):
        was, now = getattr(request, field.name), getattr(back, field.name)
        if field.name in ("bundles", "targets"):
            was = tuple(path.resolve() for path in was)
        assert now == was, field.name
    assert request_to_json(back, root, Path) == values


def test_the_paths_of_a_request_move_with_the_project(tmp_path: Path) -> None:
    inside, outside = tmp_path / "a/bundles/note", tmp_path / "elsewhere"
    values = request_to_json(RunRequest([inside, outside], [tmp_path / "a"]), tmp_path / "a", Path)
    assert values == {"bundles": ["./bundles/note", str(outside)], "targets": ["./."]}
    back = request_from_json(values, tmp_path / "b")
    assert back.bundles == (tmp_path / "b/bundles/note", outside)
    assert back.targets == (tmp_path / "b",)


@given(st.dictionaries(st.sampled_from([field.name for field in fields(RunRequest)] + ["other"]), VALUES))
def test_a_damaged_request_is_one_line(values: dict) -> None:
    with contextlib.suppress(ConfigError):
        request_from_json(values, Path("/p"))


class Seen:
    def __init__(self, stop_after: int | None = None) -> None:
        self.events: list = []
        self._left = stop_after

    async def on_event(self, event) -> None:
        self.events.append(event)
        if isinstance(event, TaskFinished) and self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise_in_run()

    def of(self, kind) -> list:
        return [event for event in self.events if isinstance(event, kind)]


def raise_in_run() -> None:
    task = next(one for one in asyncio.all_tasks() if one.get_name() == "the run")
    task.cancel()


async def interrupted(app: App, request: RunRequest, after: int = 1, **options) -> None:
    """Run until some tasks have ended."""

    async def whole() -> None:
        async with app.session(request) as session:
            await session.run([Seen(stop_after=after)], **options)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(whole(), name="the run")


async def resumed(app: App, how: ResumeRequest | None = None, **options):
    seen = Seen()
    async with app.resume(None, how) as session:
        return await session.run([seen], **options), seen


@pytest.fixture
def app(project: Path) -> App:
    return App(project, EngineConfig())


def request_of(bundle: Path, app: App, server: ScriptedServer, **options) -> RunRequest:
    return RunRequest([bundle], [app.root], base_url=server.api, **({"concurrency": 1} | options))


async def test_what_is_done_is_not_repeated(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    asked = len(server.bodies)
    result, seen = await resumed(app)
    assert result.status == "finished"
    assert (result.count("finished"), len(result.tasks), len(result.changes)) == (3, 2, 3)
    assert len(seen.of(TaskStarted)) == 2
    assert len(server.bodies) == asked + 2
    (event,) = [event for event in seen.events if event.type == "run:resumed"]
    assert (event.done, event.left) == (1, 2)
    ended = seen.events[-1]
    assert (ended.type, ended.finished, ended.changes, ended.stopped) == ("run:finished", 3, 3, 0)
    with app.reader() as log:
        assert [record.status for record in log.runs()] == ["finished"]
        assert [event["seq"] for event in log.events(result.run_id)] == list(
            range(1, 1 + len(log.events(result.run_id)))
        )


async def test_a_finished_run_is_over(bundle, app, server) -> None:
    async with app.session(request_of(bundle, app, server)) as session:
        await session.run()
    server.models = None
    async with app.resume() as session:
        assert session.plan.resumed.past.over
        assert session.plan.tasks == ()


async def test_apply_holds_as_at_first(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server), apply=True)
    result, _ = await resumed(app)
    assert [one.state for one in result.decisions] == ["accepted"] * 3
    assert (app.root / "src/a.py").read_text().count("# does it") == 3


async def test_apply_can_be_taken_back(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server), apply=True)
    result, _ = await resumed(app, apply=False)
    assert result.decisions == ()


async def test_auto_accept_takes_what_was_done_before(bundle, project, server) -> None:
    shutil.copytree(bundle, project / "bundles/note")
    (project / "engine.yaml").write_text("operations: {notes: {bundle: note, auto_accept: true}}\n")
    app = App(project)
    await interrupted(app, RunRequest([], [project / "src"], base_url=server.api, concurrency=1))
    result, _ = await resumed(app)
    assert [one.state for one in result.decisions] == ["accepted"] * 3


async def test_a_change_that_was_accepted_meanwhile_stays(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    accepted = app.review().accept()
    assert [one.state for one in accepted] == ["accepted"]
    text = (app.root / "src/a.py").read_text()
    result, _ = await resumed(app)
    assert result.status == "finished"
    assert (app.root / "src/a.py").read_text() == text
    states = [row.state for row in ChangeStore(app.root).list(result.run_id)]
    assert sorted(states) == ["accepted", "pending", "pending"]
    assert [one.state for one in app.review().accept()] == ["accepted"] * 2
    assert (app.root / "src/a.py").read_text().count("# does it") == 3


async def test_what_failed_is_tried_again_when_asked(bundle, app, server) -> None:
    server.chat = [fails(400, "bad grammar")]
    async with app.session(request_of(bundle, app, server)) as session:
        assert (await session.run()).count("failed") == 1
    async with app.resume() as session:
        assert session.plan.resumed.past.over
    result, _ = await resumed(app, ResumeRequest(failed=True))
    assert (result.status, result.count("finished"), result.count("failed")) == ("finished", 3, 0)
    assert len(result.tasks) == 1


async def test_what_failed_before_still_counts(bundle, app, server) -> None:
    server.chat = [fails(400, "bad grammar")]
    await interrupted(app, request_of(bundle, app, server), after=2)
    result, seen = await resumed(app)
    assert (result.status, result.count("finished"), result.count("failed")) == ("failed", 2, 1)
    assert (seen.events[-1].status, seen.events[-1].failed) == ("failed", 1)


async def test_tokens_of_all_parts_count(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    result, seen = await resumed(app)
    assert result.usage.prompt_tokens == seen.events[-1].usage.prompt_tokens == 21


async def test_a_node_that_is_gone_ends_its_task(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    source = app.root / "src/a.py"
    source.write_text(source.read_text().replace("def second", "def renamed"))
    result, _ = await resumed(app)
    (gone,) = [task for task in result.tasks if task.outcome == "stopped"]
    assert gone.reason == "node_gone"
    assert gone.error.startswith("src/a.py has no function second any more")
    assert (result.status, result.count("finished")) == ("failed", 2)


async def test_a_target_that_is_gone_ends_its_tasks(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    shutil.rmtree(app.root / "src")
    asked = len(server.bodies)
    result, _ = await resumed(app)
    assert [task.reason for task in result.tasks] == ["node_gone"] * 2
    assert len(server.bodies) == asked
    async with app.resume() as session:
        assert session.plan.resumed.past.over


async def test_a_file_that_became_a_link_is_gone(bundle, app, server, tmp_path) -> None:
    await interrupted(app, request_of(bundle, app, server))
    source, away = app.root / "src/a.py", tmp_path / "outside.py"
    shutil.move(source, away)
    source.symlink_to(away)
    result, _ = await resumed(app)
    assert [task.reason for task in result.tasks] == ["node_gone"] * 2


async def test_only_the_files_of_what_is_left_are_read(bundle, tmp_path, server) -> None:
    project = make_project(tmp_path / "p", {"a.py": "def a():\n    pass\n", "b.py": "def b():\n    pass\n"})
    app = App(project, EngineConfig())
    await interrupted(app, request_of(bundle, app, server))
    async with app.resume() as session:
        assert [node.file_path for part in session.plan.discoveries for node in part.nodes] == ["b.py"]
        assert [task.node.name for task in session.plan.tasks] == ["b"]


async def test_when_is_not_asked_again(tmp_path, project, server) -> None:
    bundle = make_bundle(
        tmp_path / "b",
        manifest=MANIFEST.replace("types: [function, method]}", "types: [function], when: node.start_line < 10}"),
    )
    app = App(project, EngineConfig())
    await interrupted(app, request_of(bundle, app, server))
    source = project / "src/a.py"
    source.write_text("\n" * 30 + source.read_text())
    result, _ = await resumed(app)
    assert (result.status, result.count("finished")) == ("finished", 2)


async def test_nodes_of_a_query_are_found_again(tmp_path, project, server) -> None:
    nodes = "nodes: {languages: [python], types: [function, method]}"
    manifest = MANIFEST.replace(nodes, "nodes: {languages: [python], query: find.scm}")
    bundle = make_bundle(tmp_path / "b", manifest=manifest)
    (bundle / "find.scm").write_text("(function_definition name: (identifier) @name) @function.def\n")
    app = App(project, EngineConfig())
    await interrupted(app, request_of(bundle, app, server))
    result, _ = await resumed(app)
    assert result.count("finished") == result.earlier.tasks + len(result.tasks) == 3


async def test_a_changed_bundle_is_refused_or_noted(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    (bundle / "prompts/user.md.j2").write_text("Comment {{ node.name }}: well\n")
    with pytest.raises(ConfigError, match=r"the bundle 'note' changed since it started; .*--changed-bundles"):
        await resumed(app)
    with app.reader() as log:
        assert log.newest_run().status == "interrupted"
    result, seen = await resumed(app, ResumeRequest(changed_bundles=True))
    assert result.status == "finished"
    (event,) = [event for event in seen.events if event.type == "run:resumed"]
    assert event.notes == ("the bundle 'note' changed since the run started",)


async def test_a_missing_or_broken_bundle_is_refused(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns", "max_turn"))
    with pytest.raises(BundleError, match="cannot go on") as caught:
        await resumed(app)
    assert [one.code for one in caught.value.diagnostics] == ["S001"]
    shutil.rmtree(bundle)
    with pytest.raises(ConfigError, match=f"its bundle {bundle} does not exist any more; put it back"):
        await resumed(app)


async def test_an_operation_that_is_gone_is_refused(bundle, project, server) -> None:
    shutil.copytree(bundle, project / "bundles/note")
    (project / "engine.yaml").write_text("operations: {notes: {bundle: note}}\n")
    request = RunRequest([], [project / "src"], base_url=server.api, concurrency=1)
    await interrupted(App(project), request)
    (project / "engine.yaml").write_text("operations: {others: {bundle: note}}\n")
    with pytest.raises(ConfigError, match=r"engine.yaml has no operation 'notes'"):
        await resumed(App(project))


async def test_changed_settings_are_refused_or_noted(bundle, project, server) -> None:
    shutil.copytree(bundle, project / "bundles/note")
    (project / "engine.yaml").write_text("operations: {notes: {bundle: note, plugin: qwen}}\n")
    await interrupted(App(project), RunRequest([], [project / "src"], base_url=server.api, concurrency=1))
    (project / "engine.yaml").write_text("operations: {notes: {bundle: note, plugin: smollm}}\n")
    with pytest.raises(ConfigError, match="changed the plugin of 'notes' since it started"):
        await resumed(App(project))
    result, seen = await resumed(App(project), ResumeRequest(changed_bundles=True))
    assert result.count("finished") == 3
    (event,) = [event for event in seen.events if event.type == "run:resumed"]
    assert event.notes == ("the plugin of 'notes' changed since the run started",)


async def test_a_run_goes_on_once(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    async with app.resume():
        with pytest.raises(ConfigError, match="is still running in this process"):
            await resumed(app)
    assert (await resumed(app))[0].status == "finished"


async def test_a_resume_that_could_not_begin_leaves_the_run_as_it_was(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    with app.reader() as log:
        before = (log.newest_run(), log.tasks(log.newest_run().run_id))
    with pytest.raises(BackendError):
        await resumed(app, ResumeRequest(base_url="http://127.0.0.1:9/v1"))
    with app.reader() as log:
        assert (log.newest_run(), log.tasks(log.newest_run().run_id)) == before


async def test_a_server_that_moved(bundle, app, server) -> None:
    request = RunRequest([bundle], [app.root], base_url=server.api, concurrency=1)
    await interrupted(app, request)
    moved = server.api.replace("127.0.0.1", "localhost")
    result, _ = await resumed(app, ResumeRequest(base_url=moved))
    assert result.status == "finished"
    assert server.requests[-1].headers["host"].startswith("localhost")


def set_row(app: App, **values: object) -> None:
    with contextlib.closing(sqlite3.connect(app.log_path)) as database, database:
        for name, value in values.items():
            database.execute(f"UPDATE runs SET {name} = ?", (value,))


async def test_a_run_of_another_machine_can_be_taken_over(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    set_row(app, status="running", pid=1, born="1", place="elsewhere 0 pid:[1]")
    with pytest.raises(ConfigError, match=r"still running in process 1 on another machine .*--take-over"):
        await resumed(app)
    assert (await resumed(app, ResumeRequest(take_over=True)))[0].status == "finished"


async def test_a_live_run_cannot_be_taken_over(bundle, app, server) -> None:
    from engine.events.liveness import _born, this_process

    await interrupted(app, request_of(bundle, app, server))
    parent = os.getppid()
    set_row(app, status="running", pid=parent, born=_born(parent), place=this_process().place)
    with pytest.raises(ConfigError, match=f"still running in process {parent}: engine top"):
        await resumed(app, ResumeRequest(take_over=True))


async def test_a_run_of_an_older_log_is_refused(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    set_row(app, summary='{"bundles": ["note"], "targets": ["."]}')
    with pytest.raises(ConfigError, match=r"does not say what run .* was asked for.*engine run"):
        await resumed(app)


async def test_a_run_that_died_before_its_plan_was_stored_is_planned_again(bundle, app, server) -> None:
    await interrupted(app, request_of(bundle, app, server))
    with contextlib.closing(sqlite3.connect(app.log_path)) as database, database:
        database.execute("DELETE FROM events WHERE seq > 1")
        database.execute("DELETE FROM tasks")
    shutil.rmtree(app.root / ".engine/changes.db", ignore_errors=True)
    (app.root / ".engine/changes.db").unlink()
    result, seen = await resumed(app)
    assert (result.status, len(result.tasks)) == ("finished", 3)
    assert [event.tasks for event in seen.events if event.type == "run:planned"] == [3]
    with app.reader() as log:
        assert [row.state for row in log.tasks(result.run_id)] == ["finished"] * 3


async def test_no_run_at_all(app) -> None:
    with pytest.raises(ConfigError, match="holds no run yet"):
        await resumed(app)


async def test_a_task_starts_from_its_node_as_it_is_then(bundle, app, server) -> None:
    """The second task's function is edited, the third's is renamed, while the first one runs."""
    source = app.root / "src/a.py"

    class Editor:
        async def on_task_end(self, event) -> None:
            if event.node == "first":
                text = source.read_text().replace("return b", "return b + 1").replace("third", "fourth")
                source.write_text(f"# moved\n{text}")

    async with app.session(request_of(bundle, app, server)) as session:
        result = await session.run([Editor()])
    assert [(task.task.node.name, task.outcome, task.reason) for task in result.tasks[1:]] == [
        ("second", "finished", "termination_tool"),
        ("third", "stopped", "node_gone"),
    ]
    assert "return b + 1" in server.bodies[1]["messages"][-1]["content"]
    assert result.tasks[1].task.node.start_line == 6
    states = {one.path + one.task_id: one.state for one in app.review().accept()}
    assert sorted(states.values()) == ["accepted", "refused"]


async def test_a_power_cut_offers_what_was_finished_once(bundle, tmp_path, server) -> None:
    """The last commits of the event log are lost; the change store syncs each of its own."""
    two_turns(server)
    whole, broken = many_functions(tmp_path / "whole", 2, 10), many_functions(tmp_path / "broken", 2, 10)
    note = two_turn_bundle(tmp_path / "note")
    app = App(broken, EngineConfig())
    for project in (whole, broken):
        at = App(project, EngineConfig())
        async with at.session(RunRequest([note], [project], base_url=server.api, concurrency=4)) as session:
            await session.run()
    for kept in (0.25, 0.5, 0.7, 0.9):
        lose_tail(app, kept)
        result, _ = await resumed(app)
        assert result.status == "finished"
        found, expected = state_of(broken), state_of(whole)
        assert (found.tasks, found.changes, found.summary) == (expected.tasks, expected.changes, expected.summary)
        assert set(ends(broken).values()) == {1}
        offered = [(one["task_id"], one["file"]) for one in events_of(broken) if one["type"] == "change:offered"]
        assert len(offered) == len(set(offered)) == 20
        check_databases(broken)


def lose_tail(app: App, kept: float) -> None:
    """Take the log back to what a part of its commits had made of it, as when the rest never reached the disk."""
    with contextlib.closing(sqlite3.connect(app.log_path)) as database, database:
        (last,) = database.execute("SELECT max(seq) FROM events").fetchone()
        upto = max(3, int(last * kept))
        database.execute("DELETE FROM events WHERE seq > ?", (upto,))
        database.execute("UPDATE tasks SET state = 'planned', changes = 0, reason = '', attempts = 0")
        for kind, state in (("task:started", "running"), ("task:finished", "finished")):
            database.execute(
                f"UPDATE tasks SET state = '{state}', changes = '{int(state == 'finished')}' WHERE task_id IN"
                " (SELECT task_id FROM events WHERE type = ?)",
                (kind,),
            )
        database.execute("UPDATE runs SET status = 'running', ended = NULL, pid = 1, born = 'x'")


async def test_what_the_log_heard_of_is_not_told_again(bundle, app, server) -> None:
    """The process died between the event of a change and that of its task's end."""
    async with app.session(request_of(bundle, app, server)) as session:
        await session.run()
    with contextlib.closing(sqlite3.connect(app.log_path)) as database, database:
        (seq,) = database.execute("SELECT max(seq) FROM events WHERE type = 'change:offered'").fetchone()
        database.execute("DELETE FROM events WHERE seq > ?", (seq,))
        database.execute("UPDATE tasks SET state = 'running', changes = 0 WHERE place = 2")
        database.execute("UPDATE runs SET status = 'running', ended = NULL, pid = 1, born = 'x'")
    asked = len(server.bodies)
    result, seen = await resumed(app)
    assert (result.status, result.change_count, len(server.bodies)) == ("finished", 3, asked)
    assert [event.type for event in seen.events] == ["run:resumed", "task:finished", "run:finished"]
    (end,) = seen.of(TaskFinished)
    assert (end.reason, end.turns, end.usage.prompt_tokens, end.summary) == ("offered", 1, 7, "does it")


async def test_a_server_that_dies_and_comes_back(bundle, app, server) -> None:
    server.chat = [ok_once, *[fails(503, "gone")] * 60]
    (app.root / "engine.yaml").write_text("run: {retries: 0, attempts: 1}\n")
    app = App(app.root)
    async with app.session(request_of(bundle, app, server)) as session:
        first = await session.run()
    assert first.count("finished") == 1
    server.chat = []
    result, _ = await resumed(app, ResumeRequest(failed=True))
    assert (result.status, result.count("finished")) == ("finished", 3)
    assert set(ends(app.root).values()) == {1}


def ok_once(handler) -> None:
    from scripted_server import ok

    ok(call("does it"))(handler)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with launcher(tmp_path_factory.mktemp("start")) as made:
        yield made


def test_two_runs_at_once_on_one_project(start, tmp_path, server) -> None:
    two_turns(server, pause=0.002)
    project, bundle = many_functions(tmp_path / "p", 3, 8), two_turn_bundle(tmp_path / "note")
    options = ["-t", project, "--project", project, "--base-url", server.api, "--concurrency", "4"]
    with launcher(tmp_path) as other:
        start.start("run", bundle, *options)
        other.start("run", bundle, *options)
        assert (start.wait(), other.wait()) == (0, 0)
    with App(project, EngineConfig()).reader() as log:
        ids = [record.run_id for record in log.runs()]
        assert [record.status for record in log.runs()] == ["finished"] * 2
        for run_id in ids:
            events = log.events(run_id)
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
            assert {row.state for row in log.tasks(run_id)} == {"finished"}
    app, store = App(project, EngineConfig()), ChangeStore(project)
    assert [len(store.list(run_id)) for run_id in ids] == [24, 24]
    assert {one.state for one in app.review(ids[0]).accept()} == {"accepted"}
    # The same edit of the same lines is there already: the second run's change is what the file holds.
    assert {one.state for one in app.review(ids[1]).accept()} <= {"accepted", "conflict", "refused"}
    text = "".join(path.read_text() for path in sorted(project.rglob("*.py")))
    assert text.count("# about") == 24


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_stop_cleanly_and_say_how_to_go_on(which: signal.Signals, start, tmp_path, server) -> None:
    two_turns(server, pause=0.1)
    project, bundle = many_functions(tmp_path / "p", 1, 4), two_turn_bundle(tmp_path / "note")
    pid = start.start("run", bundle, "-t", project, "--project", project, "--base-url", server.api)
    deadline = time.monotonic() + 30
    while not server.bodies and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(pid, which)
    assert start.wait() == 130
    assert "engine resume goes on with the run" in start.printed
    with App(project, EngineConfig()).reader() as log:
        assert log.newest_run().status == "interrupted"
        assert {row.state for row in log.tasks(log.newest_run().run_id)} <= {"stopped", "planned", "finished"}
    code, printed = start.engine("resume", "--project", project)
    assert code == 0, printed
    code, printed = start.engine("resume", "--project", project)
    assert (code, "nothing is left to do" in printed) == (0, True)


@contextlib.contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class Impatient(App):
    """A project whose event log is not waited for when it cannot be written."""

    def log(self) -> EventLog:
        return EventLog(self.log_path, patience=0.1)


def functions(names: range, lines: int) -> str:
    body = "    a += 1  # one line of a long function, all of which goes into the prompt\n" * lines
    return "\n\n".join(f"def f{name}(a):\n{body}    return a\n" for name in names)


async def test_a_full_disk_of_the_changes_stops_the_run_which_then_goes_on(bundle, tmp_path, server) -> None:
    filler = "# nothing\n" * 20_000
    project = make_project(tmp_path / "p", {"m.py": filler + functions(range(10), 1)})
    app = App(project, EngineConfig())
    with files_up_to(1_000_000):
        async with app.session(request_of(bundle, app, server)) as session:
            result = await session.run()
        assert result.status == "stopped"
        assert "cannot be stored" in str(result.problem)
        done = result.count("finished")
        assert 0 < done < 10
        assert [task.reason for task in result.tasks if task.outcome != "finished"] == ["not_stored"]
    result, _ = await resumed(app)
    assert (result.status, result.count("finished"), len(result.tasks)) == ("finished", 10, 10 - done)
    assert set(ends(project).values()) == {1}
    assert len(ChangeStore(project).list(result.run_id)) == 10
    check_databases(project)


async def test_a_full_disk_of_the_log_stops_the_run_which_then_goes_on(tmp_path, server) -> None:
    bundle = make_bundle(tmp_path / "b", manifest=MANIFEST + "limits: {tokens: 1000000}\n")
    project = make_project(tmp_path / "p", {f"m{at}.py": functions(range(at, at + 1), 100) for at in range(20)})
    app = Impatient(project, EngineConfig())
    with files_up_to(200_000), pytest.raises(LogError, match="cannot be written"):
        async with app.session(request_of(bundle, app, server)) as session:
            await session.run()
    check_databases(project)
    result, _ = await resumed(app)
    assert (result.status, result.count("finished")) == ("finished", 20), result.tasks[0].error
    assert set(ends(project).values()) == {1}
    assert len(ChangeStore(project).list(result.run_id)) == 20

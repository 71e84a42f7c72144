"""Runs that take what nothing changed for from the cache."""

import asyncio
import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_parts import Memory, ScriptedBackend
from projects import MANIFEST, SOURCE, TOOL, call, make_bundle, make_project

import engine
from engine.app import App, RunRequest
from engine.backends import Completion, CompletionRequest
from engine.events import RunPlanned, TaskFinished
from engine.manifest import EngineConfig
from engine.messages import Usage
from engine.run import RunResult
from engine.workspace import Change

READS = TOOL.replace(
    "head, newline",
    """@external
async def read_file(path: str) -> str:
    \"\"\"Read a file.\"\"\"
    ...


limit = await read_file("src/limit.txt")
head, newline""",
).replace('"    # " + comment', '"    # " + comment + " " + limit.strip()')


class Answers(ScriptedBackend):
    """A model whose reply is a function of the request."""

    def __init__(self, version: str = "a script", *, model: str = "m") -> None:
        super().__init__([self._answer])
        self.version, self.model = version, model

    async def _answer(self, request: CompletionRequest) -> Completion:
        said = re.sub(r"[^a-z]+", "-", str(request.messages[-1]["content"]).lower())[-30:]
        return Completion(call(f"about {said}"), usage=Usage(10, 5), model="m")

    async def software(self) -> str:
        return self.version

    async def model_name(self) -> str:
        return self.model

    @property
    def asked(self) -> int:
        return len(self.requests)


async def run(bundle: Path, project: Path, backend: ScriptedBackend | None = None, **more: Any) -> RunResult:
    return await engine.run(bundle, [project], project=project, backend=backend or Answers(), **more)


def by_node(result: RunResult) -> dict[str, bool]:
    return {task.task.node.name: task.cached for task in result.tasks}


def changes_of(result: RunResult) -> dict[str, tuple[Change, ...]]:
    return {task.task.node.qualified_name: tuple(task.changes) for task in result.tasks}


async def test_a_second_run_asks_for_nothing_and_offers_the_same(bundle, project) -> None:
    first = await run(bundle, project)
    backend, seen = Answers(), Memory()
    second = await run(bundle, project, backend, observer=seen)
    assert backend.asked == 0
    assert by_node(second) == {"first": True, "second": True, "third": True}
    assert changes_of(second) == changes_of(first)
    assert {task.summary for task in second.tasks} == {task.summary for task in first.tasks}
    assert (second.status, second.usage, first.usage) == ("finished", Usage(), Usage(30, 15))
    ended = seen.of(TaskFinished)
    assert {(event.cached, event.usage, event.seconds, event.turns) for event in ended} == {
        (True, Usage(10, 5), 0.0, 1)
    }
    assert {check["passed"] for event in ended for check in event.checks} == {True}
    assert [event.cached for event in seen.of(RunPlanned)] == [3]


async def test_what_comes_from_the_cache_can_be_accepted(bundle, project) -> None:
    await run(bundle, project)
    result = await run(bundle, project, apply=True)
    assert [one.state for one in result.decisions] == ["accepted"] * 3
    assert (project / "src/a.py").read_text().count("# about") == 3


async def test_only_the_node_that_changed_is_asked_for(bundle, project) -> None:
    await run(bundle, project)
    text = SOURCE.replace("return b", "return b + 1").replace("def first", "import os\n\n\ndef first")
    (project / "src/a.py").write_text(text)
    backend = Answers()
    result = await run(bundle, project, backend, apply=True)
    assert by_node(result) == {"first": True, "second": False, "third": True}
    assert backend.asked == 1
    assert {one.state for one in result.decisions} == {"accepted"}
    assert (project / "src/a.py").read_text().count("# about") == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda bundle, _: (bundle / "prompts/user.md.j2").write_text("Comment on {{ node.text }}"),
        lambda bundle, _: (bundle / "tools/add_comment.pym").write_text(TOOL + "# more\n"),
        lambda bundle, _: (bundle / "bundle.yaml").write_text(MANIFEST.replace("80", "90")),
    ],
)
async def test_a_bundle_that_changed_is_asked_anew(bundle, project, change: Callable[[Path, Path], Any]) -> None:
    await run(bundle, project)
    change(bundle, project)
    backend = Answers()
    await run(bundle, project, backend)
    assert backend.asked == 3


@pytest.mark.parametrize("backend", [Answers("another"), Answers(model="n")])
async def test_another_model_or_server_is_asked_anew(bundle, project, backend) -> None:
    await run(bundle, project)
    await run(bundle, project, backend)
    assert backend.asked == 3


async def test_a_seed_and_a_param_are_asked_anew(tmp_path, project) -> None:
    params = "params: {style: {type: string, default: google, description: Style.}}\n"
    bundle = make_bundle(tmp_path / "b", MANIFEST + params)
    await run(bundle, project)
    for settings_ in ({"seed": 1}, {"params": {"style": "numpy"}}):
        backend = Answers()
        await run(bundle, project, backend, **settings_)
        assert backend.asked == 3


async def test_a_file_that_a_tool_read_counts(tmp_path, project) -> None:
    bundle = make_bundle(tmp_path / "b", tool=READS)
    (project / "src/limit.txt").write_text("3")
    await run(bundle, project)
    (project / "src/other.txt").write_text("anything")
    again = Answers()
    assert by_node(await run(bundle, project, again)) == {"first": True, "second": True, "third": True}
    (project / "src/limit.txt").write_text("4")
    result = await run(bundle, project, again)
    assert again.asked == 3
    assert all(b" 4\n" in (change.after or b"") for change in result.changes)
    (project / "src/limit.txt").write_text("3")  # both are kept
    assert set(by_node(await run(bundle, project, again)).values()) == {True}


async def test_a_command_check_counts_for_all_files(tmp_path, project) -> None:
    check = "{run: [python, -c, \"import sys; sys.exit('bad' in open('src/rule.txt').read())\", \"{file}\"]}"
    bundle = make_bundle(tmp_path / "b", MANIFEST.replace("[parses]", f"[parses, {check}]"))
    (project / "src/rule.txt").write_text("good")
    await run(bundle, project)
    backend = Answers()
    assert set(by_node(await run(bundle, project, backend)).values()) == {True}
    (project / "src/rule.txt").write_text("bad")
    result = await run(bundle, project, backend)
    assert (backend.asked, {task.outcome for task in result.tasks}) == (3, {"failed"})


async def test_only_what_finished_is_kept(bundle, project) -> None:
    async def refuse(request: CompletionRequest) -> Completion:
        return Completion("I would rather not.")

    result = await run(bundle, project, ScriptedBackend([refuse]))
    assert {task.outcome for task in result.tasks} == {"failed"}
    backend = Answers()
    await run(bundle, project, backend)
    assert backend.asked == 3


async def test_no_cache_asks_anew_and_keeps_that(bundle, project) -> None:
    await run(bundle, project)
    fresh = Answers()
    await run(bundle, project, fresh, cache=False)
    assert fresh.asked == 3
    last = Answers()
    await run(bundle, project, last)
    assert last.asked == 0


async def test_a_project_can_do_without(bundle, project) -> None:
    (project / "engine.yaml").write_text("run: {cache: false}\n")
    for _ in range(2):
        backend = Answers()
        await run(bundle, project, backend)
        assert backend.asked == 3
    assert not (project / ".engine/cache.db").exists()
    await run(bundle, project, cache=True)
    backend = Answers()
    await run(bundle, project, backend, cache=True)
    assert backend.asked == 0


async def test_another_bundle_of_the_same_name_is_asked_anew(bundle, tmp_path, project) -> None:
    await run(bundle, project)
    other = make_bundle(tmp_path / "other", MANIFEST.replace("You comment", "You always comment"))
    backend = Answers()
    await run(other, project, backend)
    assert backend.asked == 3


async def test_a_damaged_cache_never_stops_a_run(bundle, project) -> None:
    await run(bundle, project)
    (project / ".engine/cache.db").write_bytes(b"garbage" * 1000)
    backend = Answers()
    app = App.open(project, [project])
    async with app.session(RunRequest([bundle], [project]), backend=backend) as session:
        (warning,) = await session.check()
        assert "engine cache clear" in warning
        result = await session.run()
    assert (result.status, backend.asked) == ("finished", 3)


EVIL = [
    ("UPDATE writes SET path = 'src/secret.txt', node = 0", "src/secret.txt"),
    ("UPDATE writes SET path = '../evil.py', node = 0", "../evil.py"),
    ("UPDATE writes SET path = '.git/config', node = 0", ".git/config"),
    ("UPDATE writes SET path = '/etc/passwd', node = 0", "/etc/passwd"),
]


@pytest.mark.parametrize(("statement", "path"), EVIL)
async def test_a_cache_that_came_with_a_project_writes_nothing_that_the_bundle_may_not(
    bundle, project, statement, path
) -> None:
    await run(bundle, project)
    database = project / ".engine/cache.db"
    with sqlite3.connect(database) as db:
        db.execute(statement)
    db.close()
    resign(database)
    backend = Answers()
    result = await run(bundle, project, backend)
    assert backend.asked == 3
    assert {change.path for change in result.changes} == {"src/a.py"}
    assert not (project / path).exists() or path.startswith((".git", "/etc"))


def resign(database: Path) -> None:
    """Make the checksums right, as whoever made the file could."""
    from engine.run.cache.entry import Entry, checksum_of
    from engine.run.cache.record import Write
    from engine.run.cache.store import TaskCache

    with TaskCache(database) as cache:
        entries: list[Entry] = cache.near("bundle", "note")
    with sqlite3.connect(database) as db:
        for entry in entries:
            rows = db.execute(
                "SELECT w.path, b.data, w.mode, w.before, w.added, w.removed, w.node"
                " FROM writes w LEFT JOIN blobs b ON b.id = w.after WHERE w.entry = ?",
                (entry.id,),
            ).fetchall()
            writes = [Write(*row[:6], node=bool(row[6])) for row in rows]
            checksum = checksum_of(entry.key, entry.reads, entry.source, entry.result, writes)
            db.execute("UPDATE entries SET checksum = ? WHERE id = ?", (checksum, entry.id))
    db.close()


async def test_nothing_of_the_environment_is_kept(bundle, project, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "hunter2hunter2")
    await run(bundle, project)
    assert b"hunter2hunter2" not in b"".join(path.read_bytes() for path in (project / ".engine").glob("cache.db*"))


async def test_a_result_that_came_before_another_is_taken_when_its_turn_comes(tmp_path, project) -> None:
    bundles = project / "bundles"
    make_bundle(bundles / "note")
    make_bundle(bundles / "more", MANIFEST.replace("name: note", "name: more"))
    config = EngineConfig.model_validate(
        {"operations": {"note": {"bundle": "note"}, "more": {"bundle": "more", "after": ["note"]}}}
    )

    async def once(backend: ScriptedBackend) -> RunResult:
        app = App(project, config)
        async with app.session(RunRequest(["note", "more"], [project / "src"]), backend=backend) as session:
            return await session.run()

    await once(Answers())
    backend = Answers()
    result = await once(backend)
    assert (backend.asked, len(result.tasks), {task.cached for task in result.tasks}) == (0, 6, {True})


async def test_a_plan_says_what_the_cache_has(bundle, project) -> None:
    await run(bundle, project)
    (project / "src/a.py").write_text(SOURCE.replace("return b", "return b + 1"))
    app = App.open(project, [project])
    async with app.session(RunRequest([bundle], [project]), backend=Answers()) as session:
        plan = await session.look()
    assert {task.node.name for task in plan.tasks if task.task_id in plan.cached} == {"first", "third"}
    assert {(hit.usage, len(hit.key)) for hit in plan.cached.values()} == {(Usage(10, 5), 64)}


async def test_a_tree_that_changes_between_the_plan_and_the_run_is_seen(bundle, project) -> None:
    await run(bundle, project)
    backend = Answers()
    app = App.open(project, [project])
    async with app.session(RunRequest([bundle], [project]), backend=backend) as session:
        await session.check()
        (project / "src/a.py").write_text("x = 1\n" + SOURCE.replace("return b", "return b + 1"))
        result = await session.run()
    assert by_node(result)["second"] is False
    assert (result.status, len(result.changes)) == ("finished", 3)


FUNCTIONS = st.lists(st.sampled_from(["return a", "return a + 1", "pass", "return 'x'"]), min_size=1, max_size=3)


def source_of(bodies: list[str], head: str = "") -> str:
    return head + "\n\n".join(f"def f{at}(a):\n    {body}\n" for at, body in enumerate(bodies))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(FUNCTIONS, st.sampled_from(["", "import os\n\n\n"]), st.sampled_from("123")), min_size=2, max_size=3
    )
)
def test_whatever_is_edited_a_run_comes_to_what_one_without_cache_does(tmp_path_factory, versions) -> None:
    folder = tmp_path_factory.mktemp("random")
    bundle, project = (
        make_bundle(folder / "b", tool=READS),
        make_project(folder / "p", {"src/a.py": "", "src/limit.txt": ""}),
    )

    async def compare() -> None:
        for bodies, head, limit in versions:
            (project / "src/a.py").write_text(source_of(bodies, head))
            (project / "src/limit.txt").write_text(limit)
            cached = await run(bundle, project)
            fresh = await run(bundle, project, cache=False)
            assert changes_of(cached) == changes_of(fresh)
            assert not any(task.cached for task in fresh.tasks)
            assert all(task.cached for task in (await run(bundle, project)).tasks)

    asyncio.run(compare())


async def test_entries_say_nothing_about_where_the_project_is(bundle, project) -> None:
    await run(bundle, project)
    rows = sqlite3.connect(project / ".engine/cache.db")
    texts = json.dumps(rows.execute("SELECT * FROM entries").fetchall())
    rows.close()
    assert str(project) not in texts

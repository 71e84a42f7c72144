"""A task that comes after others sees what they offered, and its change goes on top of theirs."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from projects import MANIFEST, SOURCE, call, make_bundle, make_project
from scripted_server import ScriptedServer
from test_cli import engine as command

from engine.app import App, RunRequest
from engine.run.schedule.stacking import stacked
from engine.workspace import Change


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with a chain of two bundles that both put a comment into a function."""
    made = make_project(tmp_path / "project", {"a.py": SOURCE})
    for name in ("lint", "docs"):
        bundle = make_bundle(made / "bundles" / name, MANIFEST.replace("name: note", f"name: {name}"))
        (bundle / "prompts/user.md.j2").write_text(name + " {{ node.name }}:\n\n{{ node.text }}\n")
    (made / "engine.yaml").write_text("operations:\n  lint: {bundle: lint}\n  docs: {bundle: docs, after: [lint]}\n")
    return made


async def run(project: Path, server: ScriptedServer, **asked: Any) -> Any:
    server.text = lambda body: call(body["messages"][-1]["content"].split(":")[0])
    request = RunRequest([], [project / "a.py"], base_url=server.api, **asked)
    async with App.open(project).session(request) as session:
        return await session.run()


def prompts(server: ScriptedServer) -> dict[str, str]:
    """What was asked, by its first line."""
    texts = [body["messages"][-1]["content"] for body in server.bodies]
    return {text.split(":")[0]: text for text in texts}


async def test_the_later_task_reads_what_the_earlier_one_offered(project: Path, server: ScriptedServer) -> None:
    result = await run(project, server)
    assert (result.status, result.count("finished")) == ("finished", 6)
    assert "    # lint first\n" in prompts(server)["docs first"]
    assert "lint second" not in prompts(server)["docs first"], "other nodes are as they are in the project"
    assert (project / "a.py").read_text() == SOURCE
    assert len(result.changes) == 6
    assert all((one.added, one.removed) == (1, 0) for one in result.changes), "each change is the task's own"


async def test_all_changes_of_both_go_into_the_file(project: Path, server: ScriptedServer) -> None:
    result = await run(project, server, concurrency=1)
    review = App.open(project).review(result.run_id)
    decisions = review.accept()
    assert [one.state for one in decisions] == ["accepted"] * 6, [one.reason for one in decisions]
    text = (project / "a.py").read_text()
    for name in ("first", "second", "third"):
        assert text.index(f"# docs {name}") < text.index(f"# lint {name}")
    lines = [line for line in text.splitlines(keepends=True) if "#" not in line]
    assert "".join(lines) == SOURCE


async def test_the_earlier_can_be_accepted_without_the_later_but_not_the_reverse(
    project: Path, server: ScriptedServer
) -> None:
    result = await run(project, server, nodes=["first"])
    review = App.open(project).review(result.run_id)
    assert [one.state for one in review.accept(["docs-*"])] == ["refused"]
    assert (project / "a.py").read_text() == SOURCE
    assert [one.state for one in review.accept(["lint-*"])] == ["accepted"]
    assert (project / "a.py").read_text().count("#") == 1
    assert [one.state for one in review.accept(["docs-*"])] == ["accepted"]
    assert (project / "a.py").read_text().count("#") == 2


async def test_an_edit_of_somebody_else_still_is_in_the_way(project: Path, server: ScriptedServer) -> None:
    result = await run(project, server, nodes=["first"])
    review = App.open(project).review(result.run_id)
    review.accept(["lint-*"])
    (project / "a.py").write_text((project / "a.py").read_text() + "\nx = 1\n")
    assert [one.state for one in review.accept(["docs-*"])] == ["refused"]


async def test_with_apply_both_are_in_the_file_at_the_end(project: Path, server: ScriptedServer) -> None:
    request = RunRequest([], [project / "a.py"], base_url=server.api)
    server.text = lambda body: call(body["messages"][-1]["content"].split(":")[0])
    async with App.open(project).session(request) as session:
        result = await session.run(apply=True)
    assert [one.state for one in result.decisions] == ["accepted"] * 6
    assert (project / "a.py").read_text().count("#") == 6
    # A second run finds the project as it is then.
    server.requests.clear()
    again = await run(project, server)
    assert again.status == "finished"


async def test_a_class_comes_after_its_methods(project: Path, server: ScriptedServer) -> None:
    manifest = MANIFEST.replace("name: note", "name: docs").replace("types: [function, method]", "types: [class]")
    make_bundle(project / "bundles/docs", manifest)
    (project / "bundles/docs/prompts/user.md.j2").write_text("docs {{ node.name }}:\n\n{{ node.text }}\n")
    result = await run(project, server)
    assert (result.status, result.count("finished")) == ("finished", 4)
    assert "# lint third" in prompts(server)["docs Thing"]


async def test_a_node_that_the_earlier_took_away_is_skipped(project: Path, server: ScriptedServer) -> None:
    tool = (project / "bundles/lint/tools/add_comment.pym").read_text()
    tool = tool.replace('head + newline + "    # " + comment + "\\n" + body', '"def renamed(): ...\\n"')
    (project / "bundles/lint/tools/add_comment.pym").write_text(tool)
    result = await run(project, server, nodes=["first"])
    outcomes = {one.task.assignment.name: (one.outcome, one.reason, one.error) for one in result.tasks}
    assert outcomes["lint"][0] == "finished"
    assert outcomes["docs"][:2] == ("skipped", "after")
    assert "a.py has no function first any more after lint-" in outcomes["docs"][2]


async def test_what_builds_on_pending_changes_is_taken_from_the_cache_on_top_of_the_same(
    project: Path, server: ScriptedServer
) -> None:
    first = await run(project, server, nodes=["first"])
    again = await run(project, server, nodes=["first"])
    assert [(one.task.assignment.name, one.cached) for one in again.tasks] == [("lint", True), ("docs", True)]
    assert [one.after for one in first.changes] == [one.after for one in again.changes]
    (project / "a.py").write_text(SOURCE.replace("def first(", "def first(  "))
    other = await run(project, server, nodes=["first"])
    assert {one.cached for one in other.tasks} == {False}


async def test_a_run_that_is_gone_on_with_stacks_on_what_its_first_part_offered(
    project: Path, server: ScriptedServer
) -> None:
    """The first part ends when the first docs task fails; by then lint is done with every node."""
    operations = "operations:\n  lint: {bundle: lint, priority: high}\n  docs: {bundle: docs, after: [lint]}\n"
    (project / "engine.yaml").write_text(operations + "run: {on_failure: stop, concurrency: 1}\n")

    def text(body: Any) -> str:
        words = body["messages"][-1]["content"].split(":")[0]
        return "no" if words == "docs first" else call(words)

    server.text = text
    request = RunRequest([], [project / "a.py"], base_url=server.api)
    async with App.open(project).session(request) as session:
        result = await session.run()
    assert (result.status, result.count("finished"), result.count("failed")) == ("stopped", 3, 1)
    server.requests.clear()
    done = await asyncio.to_thread(command, "resume", result.run_id, cwd=project)
    assert done.returncode == 1, done.stderr
    assert "# lint second" in prompts(server)["docs second"]
    assert "# lint third" in prompts(server)["docs third"]
    assert len(server.bodies) == 2
    decisions = App.open(project).review(result.run_id).accept()
    assert [one.state for one in decisions] == ["accepted"] * 5


LINES = st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n"]), max_size=6).map(b"".join)


@given(st.lists(st.tuples(LINES, LINES), max_size=5))
def test_stacking_never_fails_and_keeps_the_beginning(pairs: list[tuple[bytes, bytes]]) -> None:
    changes = [Change("a", before, after) for before, after in pairs]
    found = stacked(changes)
    assert len(found) == bool(pairs)
    assert all(one.before == pairs[0][0] for one in found)


@given(st.lists(LINES, min_size=2, max_size=6))
def test_a_chain_comes_to_its_last_content(contents: list[bytes]) -> None:
    changes = [Change("a", before, after) for before, after in pairwise(contents)]
    assert [one.after for one in stacked(changes)] == [contents[-1]]

"""One task once more with a note, and changes that a person edits: through the App, with a real project."""

from __future__ import annotations

import pytest
from kernel_parts import ScriptedBackend
from projects import MANIFEST, SOURCE, call, make_bundle

import engine
from engine.app import App, ResumeRequest
from engine.cli import main
from engine.errors import ConfigError
from engine.events import Used
from engine.messages import Message, Usage
from engine.report.reading import collect
from engine.run.note import note_text, with_note
from engine.run.standing import attach


async def a_run(bundle, project, script):
    result = await engine.run(bundle, [project / "src"], project=project, backend=ScriptedBackend(script))
    return App(project), result


def prompt_of(backend, request=0):
    return next(message["content"] for message in backend.requests[request].messages if message["role"] == "user")


async def test_a_task_runs_again_with_a_note(bundle, project) -> None:
    app, result = await a_run(bundle, project, [call("does it")])
    review = app.review(result.run_id)
    first = next(iter(review.offered(["*first"])))
    backend = ScriptedBackend([call("returns a")])
    again = await app.rerun(result.run_id, first.task_id, "say what it returns", backend=backend)
    assert (again.outcome, again.task.task_id) == ("finished", first.task_id)
    asked = prompt_of(backend)
    assert "+    # does it" in asked
    assert asked.endswith("The reviewer says: say what it returns")
    assert len(backend.requests) == 1
    rows = list(review.offered())
    assert len(rows) == 3
    (new,) = [row for row in rows if row.task_id == first.task_id]
    assert b"# returns a" in new.change.after
    assert b"# does it" not in new.change.after
    with app.reader() as log:
        events = [event for event in log.events(result.run_id) if event["task_id"] == first.task_id]
        assert [event["type"] for event in events].count("task:finished") == 2
        assert log.run(result.run_id).status == "finished"
        assert len(log.runs()) == 1
        row = next(one for one in log.tasks(result.run_id) if one.task_id == first.task_id)
        assert (row.state, row.attempts) == ("finished", 2)
    assert {one.state for one in review.accept()} == {"accepted"}
    assert (project / "src/a.py").read_text().count("# returns a\n") == 1


async def test_the_sums_of_a_run_hold_second_tries(bundle, project, capsys) -> None:
    """What `engine rerun` used is the run's, once: in its record, in what looks on, in a report, and in a budget."""
    app, result = await a_run(bundle, project, [call("does it")])  # 10 and 5 tokens and a tool call for each task
    assert (result.usage, first_used(app, result)) == (Usage(30, 15), Used(30, 15, tool_calls=3, unpriced=3))
    for task in result.tasks[:2]:
        await app.rerun(result.run_id, task.task.task_id, "better", backend=ScriptedBackend([call("x")]))
    await app.rerun(result.run_id, result.tasks[0].task.task_id, "again", backend=ScriptedBackend(["no call"]))
    used = Used(60, 30, tool_calls=5, unpriced=6)
    with app.reader() as log:
        record = log.run(result.run_id)
        assert (record.used, log.used(result.run_id), log.runs()[0].used) == (used, used, used)
        assert record.summary["usage"] == {"prompt_tokens": 60, "completion_tokens": 30, "cached_tokens": 0}
        assert (record.summary["tool_calls"], record.summary["cost"]) == (5, None)
        tally, _ = attach(log, result.run_id)
        facts = collect(log, None, result.run_id)
        replies = [event for event in log.events(result.run_id) if event["type"] == "model:responded"]
    assert len(replies) == 6
    assert (tally.used, facts.used) == (used, used)
    with pytest.raises(SystemExit, match="0"):
        main(["show", "--project", str(project)])
    assert "; 90 tokens;" in capsys.readouterr().out
    async with app.resume(result.run_id, ResumeRequest(failed=True), backend=ScriptedBackend([call("y")])) as session:
        assert session.plan.resumed.past.earlier.used == used
        whole = await session.run()
    assert (whole.usage, [task.reason for task in whole.tasks]) == (Usage(60, 30), ["offered"])


def first_used(app, result) -> Used:
    with app.reader() as log:
        return log.used(result.run_id)


async def test_a_second_try_that_fails_leaves_the_first(bundle, project) -> None:
    app, result = await a_run(bundle, project, [call("does it")])
    review = app.review(result.run_id)
    first = next(iter(review.offered()))
    again = await app.rerun(result.run_id, first.task_id, "better", backend=ScriptedBackend(["no call"]))
    assert again.outcome == "failed"
    assert review.store.get(first.id).change == first.change


async def test_what_cannot_run_again_says_why(bundle, project) -> None:
    app, result = await a_run(bundle, project, [call("does it")])
    with pytest.raises(ConfigError, match="has no task nobody"):
        await app.rerun(result.run_id, "nobody", "x")
    first = next(iter(app.review(result.run_id).offered(["*first"])))
    (project / "src/a.py").write_text(SOURCE.replace("def first", "def other"))
    with pytest.raises(ConfigError, match=r"cannot run again: there is no such node.*src/a\.py::first"):
        await app.rerun(result.run_id, first.task_id, "x", backend=ScriptedBackend([call("x")]))


@pytest.mark.parametrize("roles", [["system", "user"], ["system"], ["user", "assistant", "user"], []])
def test_the_note_follows_the_last_message_of_the_user(roles) -> None:
    messages = [Message(role, f"{role} {place}\n") for place, role in enumerate(roles)]
    assert with_note(messages, "") == messages
    noted = with_note(messages, "NOTE")
    assert noted[-1].content.endswith("NOTE")
    assert [message.role for message in noted] == (roles if "user" in roles else [*roles, "user"])
    assert sum("NOTE" in message.content for message in noted) == 1


def test_a_long_diff_is_cut() -> None:
    assert len(note_text("say it", ["+x\n" * 9000])) < 8200
    assert note_text("say it", []) == "The reviewer says: say it"


CHECKED = MANIFEST.replace(
    "checks: [parses]",
    """checks: [parses, {run: [python, -c, "import sys; sys.exit('bad' in open(sys.argv[1]).read())", "{file}"]}]""",
)


async def test_an_edited_change_is_checked_again(tmp_path, project) -> None:
    app, result = await a_run(make_bundle(tmp_path / "c", manifest=CHECKED), project, [call("bad")])
    review = app.review(result.run_id)
    rows = list(review.offered())
    assert {(row.passed, len(row.checks)) for row in rows} == {(False, 2)}
    good = await app.edit(review, rows[0].id, rows[0].change.after.replace(b"# bad", b"# good"))
    assert (good.passed, good.edited, good.facts["bundle"]) == (True, True, "note")
    broken = await app.edit(review, rows[1].id, b"def (:\n")
    assert (broken.passed, broken.failed_checks) == (False, ["parses"])
    decisions = {one.task_id: one.state for one in review.accept()}
    assert decisions == {rows[0].task_id: "accepted", rows[1].task_id: "refused", rows[2].task_id: "refused"}
    assert (project / "src/a.py").read_text().count("# good") == 1
    with pytest.raises(ConfigError, match="does not wait any more"):
        await app.edit(review, rows[0].id, b"late\n")
    with app.reader() as log:
        words = [event["decision"] for event in log.events(result.run_id) if event["type"] == "change:decided"]
    assert words.count("edited") == 2


async def test_an_edit_whose_bundle_is_gone_does_not_pass(bundle, project) -> None:
    app, result = await a_run(bundle, project, [call("does it")])
    review = app.review(result.run_id)
    row = next(iter(review.offered()))
    (bundle / "bundle.yaml").unlink()
    edited = await app.edit(review, row.id, SOURCE.encode() + b"# mine\n")
    assert edited.failed_checks == ["checks of the bundle"]
    assert "they cannot run" in edited.checks[-1]["detail"]
    assert {one.state for one in review.accept(["*first"], failing=True)} == {"accepted"}


async def test_the_nodes_of_offered_changes_are_known(bundle, project) -> None:
    """Bundles on adjacent one-line functions, one after the other: each change has its node's place and merges."""
    (project / "src/a.py").write_text("def one(a): return a\ndef two(b): return b\n")
    app, result = await a_run(bundle, project, [call("x")])
    review = app.review(result.run_id)
    rows = list(review.offered())
    assert [row.change.before[slice(*row.change.span)].decode() for row in rows] == [
        "def one(a): return a",
        "def two(b): return b",
    ]
    assert [row.facts["node"]["name"] for row in rows] == ["one", "two"]

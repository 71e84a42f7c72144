"""What `engine show` prints of a run: from its tasks, by state, by name, as JSON; and a run whose log breaks."""

from __future__ import annotations

import json
import sqlite3

import pytest
from event_parts import IDENTITY, start_engine
from test_cli import engine

from engine.events import EventLog, RunFinished, RunPlanned, RunStarted, TaskFinished, TaskRow, TaskStarted

STATES = ("planned", "running", "finished", "failed", "stopped", "skipped")


@pytest.fixture
def path(tmp_path):
    (tmp_path / "engine.yaml").write_text("")
    return tmp_path / ".engine" / "events.db"


def store(path, count=6):
    """Store a run with tasks in every state, some of it, and its end."""
    rows = [
        TaskRow("r", f"t{n}", n, "b", "", f"n{n}", f"A.f{n}", "function", f"src/{n % 2}.py", n + 1)
        for n in range(count)
    ]
    with EventLog(path) as log:
        log.append(RunStarted(run_id="r", bundles=("b",), targets=("src",)))
        log.plan(rows)
        log.append(RunPlanned(run_id="r", files=2, nodes=count, tasks=count))
        for row in rows:
            state = STATES[row.place % len(STATES)]
            names = {"node_id": row.node_id, "node": row.node, "file": row.file, "line": row.line, "bundle": "b"}
            if state not in ("planned", "skipped"):
                log.append(TaskStarted(run_id="r", task_id=row.task_id, **names))
            if state not in ("planned", "running"):
                error = f"\x1b[31m{state} badly" if state == "failed" else None
                said = "all done" if state == "finished" else ""
                ended = {"outcome": state, "reason": "why", "error": error, "summary": said, "attempts": 2}
                log.append(TaskFinished(run_id="r", task_id=row.task_id, **names, **ended))
        counts = {"finished": 1, "failed": 1, "stopped": 1, "skipped": 1, "changes": 0, "seconds": 2.5}
        log.append(RunFinished(run_id="r", status="failed", **counts))


def lines(*arguments, cwd):
    ran = engine("show", *arguments, cwd=cwd)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def test_a_run_is_a_head_its_tasks_and_its_end(path, tmp_path):
    store(path)
    assert lines(cwd=tmp_path) == [
        "run r: b on src",
        "6 tasks on 6 nodes of 2 files",
        "running   t1  src/1.py:2 A.f1",
        "finished  t2  src/0.py:3 A.f2  all done  (2 attempts)",
        "failed    t3  src/1.py:4 A.f3  \\x1b[31mfailed badly  (2 attempts)",
        "stopped   t4  src/0.py:5 A.f4  why  (2 attempts)",
        "skipped   t5  src/1.py:6 A.f5  why  (2 attempts)",
        "planned   1 task",
        "failed: 1 finished, 1 failed, 1 stopped, 0 changes, 1 skipped; 0 tokens; 2.5 s",
    ]


def test_the_dead_letters_are_the_tasks_of_some_states(path, tmp_path):
    store(path)
    for flags in (("--state", "failed,stopped"), ("--state", "failed", "--state", "stopped")):
        assert [line.split()[1] for line in lines(*flags, cwd=tmp_path)[2:-1]] == ["t3", "t4"]
    assert lines("--state", "planned", cwd=tmp_path)[2] == "planned   t0  src/0.py:1 A.f0"
    wrong = engine("show", "--state", "faild", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "'faild' is no state of a task: planned, running, finished" in wrong.stderr


def test_json_is_the_run_with_its_tasks(path, tmp_path):
    store(path)
    said = json.loads("\n".join(lines("--json", "--state", "failed", cwd=tmp_path)))
    assert (said["run_id"], said["status"], said["counts"]) == ("r", "failed", dict.fromkeys(STATES, 1))
    assert said["tasks"] == [
        {
            "task_id": "t3",
            "place": 3,
            "bundle": "b",
            "operation": "",
            "node_id": "n3",
            "node": "A.f3",
            "type": "function",
            "file": "src/1.py",
            "line": 4,
            "state": "failed",
            "reason": "why",
            "error": "\x1b[31mfailed badly",
            "attempts": 2,
            "seconds": 0.0,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "changes": 0,
            "cached": False,
        }
    ]
    named = json.loads("\n".join(lines("--json", "--task", "src/0.py", cwd=tmp_path)))
    assert [task["task_id"] for task in named["tasks"]] == ["t0", "t2", "t4"]


def test_tasks_that_match_are_shown_with_what_happened(path, tmp_path):
    store(path)
    assert lines("--task", "A.f3", cwd=tmp_path)[2:-1] == [
        "failed    t3  src/1.py:4 A.f3  \\x1b[31mfailed badly  (2 attempts)"
    ]
    assert lines("--task", "src/?.py", "--state", "finished", cwd=tmp_path)[2:-1] == [
        "finished  t2  src/0.py:3 A.f2  all done  (2 attempts)"
    ]
    assert len(lines("--task", "nosuch", cwd=tmp_path)) == 3


def test_100_000_tasks_are_shown(path, tmp_path):
    rows = (TaskRow("r", f"t{n}", n, "b", "", "n", "f", "function", "a.py", 1) for n in range(100_000))
    with EventLog(path) as log:
        log.append(RunStarted(run_id="r", bundles=("b",), targets=("src",)))
        log.plan(rows)
        names = IDENTITY | {"node": "f"}
        log.append(TaskFinished(run_id="r", task_id="t99999", **names, outcome="failed", reason="error", error="x"))
    shown = lines("--state", "failed", cwd=tmp_path)
    assert shown[1] == "failed    t99999  a.py:1 f  x"
    assert lines(cwd=tmp_path)[1:3] == [shown[1], "planned   99999 tasks"]


# -- a run whose log cannot be written


def test_a_run_whose_log_is_deleted_ends_with_one_line_and_exit_code_2(bundle, project, server):
    database = project / ".engine/events.db"

    def answer(body):
        for each in database.parent.glob("events.db*"):
            each.unlink(missing_ok=True)
        return "no call"

    server.text = answer
    arguments = ("run", bundle, "--target", "src", "--base-url", server.api, "--concurrency", "1", "--no-cache")
    with start_engine(*arguments, cwd=project) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (2, "")
    last = err.splitlines()[-1]
    assert "events.db cannot be written: it was deleted or replaced; " in last
    assert "events are lost; leave the folder alone while something runs" in last
    assert "Traceback" not in err


def test_a_log_of_a_newer_engine_is_told_of_before_a_task_starts(bundle, project, server):
    arguments = ("run", bundle, "--target", "src", "--base-url", server.api, "--limit", "1")
    assert engine(*arguments, cwd=project).returncode == 0
    with sqlite3.connect(project / ".engine/events.db") as raw:
        raw.execute("PRAGMA user_version = 99")
    raw.close()
    asked = len(server.chat)
    ran = engine(*arguments, "--no-cache", cwd=project)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "version 99, this engine knows up to 3" in ran.stderr
    assert len(server.chat) - asked <= 1  # the canary of the constraint

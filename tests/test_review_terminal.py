"""`engine review` as a person has it: in a real terminal, with a real editor process; and its verbs without one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from projects import SOURCE, TOOL, call, make_bundle
from terminal import Terminal
from terminal import engine as engine_argv

import engine as runs

EDITOR = """\
import pathlib, signal, sys
signal.signal(signal.SIGINT, lambda *_: print("THE EDITOR HEARD CTRL-C", flush=True))
path = pathlib.Path(sys.argv[-1])
print("THE EDITOR HAS", path.name, flush=True)
key = sys.stdin.readline().strip()
path.write_text(path.read_text().replace("# does it", "# " + key))
sys.exit(3 if key == "fail" else 0)
"""


@pytest.fixture
def editor(tmp_path: Path) -> dict[str, str]:
    script = tmp_path / "editor.py"
    script.write_text(EDITOR)
    return {"VISUAL": "", "EDITOR": f"{sys.executable} {script}"}


def engine(*argv: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_COLOR": "1"}
    return subprocess.run(
        engine_argv(*argv), cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def run_bundle(bundle: Path, project: Path, server, **more: object) -> None:
    asyncio.run(runs.run(bundle, [project / "src"], project=project, base_url=server.api, concurrency=1, **more))


def test_review_from_the_first_look_to_the_last_decision(bundle, project, server, editor) -> None:
    run_bundle(bundle, project, server)
    source = project / "src/a.py"
    with Terminal(engine_argv("review"), project, environment=editor) as terminal:
        terminal.wait_for(r"3 of 3 changes wait.*Diff: src/a\.py::first.*# does it")
        terminal.press("e")
        terminal.wait_for(r"THE EDITOR HAS a\.py")
        assert terminal.is_sane
        terminal.press("\x03")
        terminal.wait_for("THE EDITOR HEARD CTRL-C")
        terminal.press("by hand\r")
        terminal.wait_for(r"edited; its checks pass")
        terminal.wait_for(r"first.*edited")
        terminal.press("a")
        terminal.wait_for(r"2 of 3 changes wait.*accepted: src/a\.py")
        assert source.read_text() == SOURCE.replace("(a):\n", "(a):\n    # by hand\n")
        terminal.press("e")
        terminal.wait_for(r"THE EDITOR HAS a\.py")
        terminal.press("fail\r")
        terminal.wait_for(r"the editor .* ended\s+with 3; the change is as it was")
        terminal.press("t")
        terminal.wait_for(r"What should be done better\?")
        terminal.press("say more\r")
        terminal.wait_for(r"second finished: does it; a new change waits", 90)
        asked = [body for body in server.bodies if "The reviewer says: say more" in json.dumps(body)]
        assert len(asked) == 1
        terminal.press("k")
        terminal.press("u")
        terminal.wait_for(r"3 of 3 changes wait.*undone: src/a\.py")
        assert source.read_text() == SOURCE
        terminal.resize(24, 70)
        terminal.wait_until_gone("Diff: ")
        terminal.press("\r")
        terminal.wait_for("Diff: ")
        terminal.press("q")
        assert terminal.end() == 0
        assert terminal.is_restored
        assert terminal.is_sane
        assert b"Traceback" not in terminal.raw


@pytest.mark.parametrize("end", ["ctrl-c", "SIGTERM", "SIGINT", "hang up", "SIGKILL in the editor"])
def test_every_end_leaves_the_terminal_well(end, bundle, project, server, editor) -> None:
    run_bundle(bundle, project, server, limit=1)
    with Terminal(engine_argv("review"), project, environment=editor) as terminal:
        terminal.wait_for("1 of 1 changes wait.*Diff: ")
        match end:
            case "ctrl-c":
                terminal.press("\x03")
            case "hang up":
                terminal.hang_up()
            case "SIGKILL in the editor":
                terminal.press("e")
                terminal.wait_for("THE EDITOR HAS")
                assert terminal.is_sane
                assert terminal.is_restored
                return
            case _:
                terminal.tell(getattr(signal, end))
        assert terminal.end() == 130
        assert b"Traceback" not in terminal.raw
        if end != "hang up":
            assert terminal.is_restored
            assert terminal.is_sane


def test_two_reviewers_at_once(bundle, project, server) -> None:
    run_bundle(bundle, project, server)
    with Terminal(engine_argv("review"), project) as one, Terminal(engine_argv("review"), project) as other:
        for terminal in (one, other):
            terminal.wait_for("3 of 3 changes wait.*Diff: ")
        one.press("a")
        other.press("a")
        one.wait_for("[12] of 3 changes wait")
        other.wait_for("[12] of 3 changes wait")
        one.press("A")
        one.wait_for("0 of 3 changes wait")
        other.wait_for("0 of 3 changes wait")
        for terminal in (one, other):
            terminal.press("q")
            assert terminal.end() == 0
    assert (project / "src/a.py").read_text().count("# does it") == 3
    lines = engine("events", cwd=project).stdout.splitlines()
    decided = [event for event in map(json.loads, lines) if event["type"] == "change:decided"]
    assert [event["decision"] for event in decided] == ["accepted"] * 3
    assert len({event["task_id"] for event in decided}) == 3


def test_without_a_terminal_it_says_what_to_use(bundle, project, server) -> None:
    run_bundle(bundle, project, server, limit=1)
    ran = engine("review", cwd=project)
    assert ran.returncode == 2
    assert ran.stderr.strip() == (
        "error: engine review needs a terminal; engine diff shows the changes, engine accept, reject and undo decide"
    )
    assert ran.stdout == ""


def test_the_verbs_choose_mark_and_take_back(tmp_path, project, server) -> None:
    tool = TOOL.replace('"    # " + comment', '("    # " if "self" in head else comment + "(((")')
    run_bundle(make_bundle(tmp_path / "b", tool=tool), project, server)
    stat = engine("diff", "--stat", cwd=project)
    assert stat.stdout.count("not passing: parses") == 2
    assert "no good" not in stat.stdout
    assert engine("diff", "--stat", "--where", "checks.passed", cwd=project).stdout.count("\n") == 1
    shown = engine("diff", "--where", "not checks.passed", cwd=project)
    assert shown.stderr.count("#   parses: src/a.py does not parse after the change") == 2
    everything = engine("accept", cwd=project)
    assert everything.returncode == 1
    assert everything.stdout.count("refused: src/a.py: its checks did not pass") == 2
    assert "1 change accepted" in everything.stdout
    assert (project / "src/a.py").read_text().count("\n") == SOURCE.count("\n") + 1
    wrong = engine("accept", "--where", "chekcs.passed", cwd=project)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean 'checks'" in wrong.stderr
    none = engine("accept", "--where", "checks.passed", cwd=project).stdout
    assert none.endswith(": 2 changes wait, and --task and --where leave none of them\n")
    undone = engine("undo", "--where", "node.type == 'method'", cwd=project)
    assert (undone.returncode, "1 change undone" in undone.stdout) == (0, True)
    assert (project / "src/a.py").read_text() == SOURCE
    again = engine("undo", cwd=project)
    assert (again.returncode, "nothing was accepted" in again.stdout) == (0, True)
    assert "2 changes rejected" in engine("reject", "--where", "'parses' in checks.failed", cwd=project).stdout
    lines = map(json.loads, engine("events", cwd=project).stdout.splitlines())
    decided = [event["decision"] for event in lines if event["type"] == "change:decided"]
    assert decided == ["accepted", "refused", "refused", "undone", "rejected", "rejected"]


def test_undo_takes_the_newest_run_that_accepted_something(bundle, project, server) -> None:
    run = ["run", bundle, "--target", "src", "--base-url", server.api]
    server.text = lambda body: call("first words")
    assert engine("undo", cwd=project).returncode == 2  # there is no run
    assert engine(*run, cwd=project).returncode == 0
    nothing = engine("undo", cwd=project)
    assert (nothing.returncode, nothing.stderr) == (0, "")
    assert nothing.stdout == "nothing was accepted: no run has changes that could be taken out\n"
    assert engine("accept", cwd=project).returncode == 0
    server.text = lambda body: call("other words")
    assert engine(*run, "--no-cache", cwd=project).returncode == 0
    newer, older = json.loads(engine("runs", "--json", cwd=project).stdout)
    named = engine("undo", newer["run_id"], cwd=project)
    assert (named.returncode, named.stdout) == (0, f"run {newer['run_id']}: nothing of what is meant was accepted\n")
    undone = engine("undo", cwd=project)
    assert (undone.returncode, undone.stdout) == (0, f"run {older['run_id']}: 3 changes undone\n")
    assert (project / "src/a.py").read_text() == SOURCE
    assert engine("undo", cwd=project).stdout.startswith("nothing was accepted: ")


def test_apply_and_auto_accept_leave_what_does_not_pass(tmp_path, project, server) -> None:
    bundle = make_bundle(project / "bundles/note", tool=TOOL.replace('"    # " + comment', 'comment + "((("'))
    (project / "engine.yaml").write_text("operations: {note: {bundle: note, auto_accept: true}}\n")
    ran = engine("run", bundle, "--target", "src", "--base-url", server.api, "--apply", cwd=project)
    assert ran.returncode == 1
    assert "3 changes offered, 3 not passing their checks;" in ran.stdout
    assert "its checks did not pass" in ran.stdout
    run_bundle(bundle, project, server)
    assert (project / "src/a.py").read_text() == SOURCE
    assert engine("diff", "--stat", cwd=project).stdout.count("not passing") == 3
    taken = engine("accept", "--failing", "--task", "*first", cwd=project)
    assert taken.returncode == 1
    assert "does not parse after the change" in taken.stdout


def test_accept_and_diff_merge(bundle, project, server) -> None:
    run_bundle(bundle, project, server)
    source = project / "src/a.py"
    source.write_text(SOURCE.replace("def second(b)", "def second(c)") + "\nx = 1\n")
    refused = engine("accept", "--task", "*first", cwd=project)
    assert refused.returncode == 1
    assert "changed since the task read it (lines 5, 12)" in refused.stdout
    shown = engine("diff", "--merge", cwd=project).stdout
    assert shown.count("<<<<<<< the file now\n def second(c):\n||||||| what the task read, from line 5") == 1
    assert ">>>>>>> task note-" in shown
    merged = engine("accept", "--merge", cwd=project)
    assert merged.returncode == 1
    assert "2 changes accepted" in merged.stdout
    assert "cannot be merged: line 5 changed on both sides; engine diff --merge" in merged.stdout
    assert source.read_text().count("# does it") == 2
    assert "x = 1" in source.read_text()
    assert "<<<" not in source.read_text()
    assert "2 changes undone" in engine("undo", cwd=project).stdout
    assert source.read_text() == SOURCE.replace("def second(b)", "def second(c)") + "\nx = 1\n"


def test_rerun_from_the_command_line(bundle, project, server) -> None:
    run_bundle(bundle, project, server)
    ran = engine("rerun", "--task", "*first", "--where", "checks.passed", "--note", "say it well", cwd=project)
    assert (ran.returncode, "1 task finished again" in ran.stdout) == (0, True), ran.stderr
    assert "finished note-" in ran.stderr
    assert sum("The reviewer says: say it well" in json.dumps(body) for body in server.bodies) == 1
    assert engine("diff", "--stat", cwd=project).stdout.count("pending") == 3
    server.text = lambda _: "no call"
    failing = engine("rerun", "--task", "*first", "--note", "x", cwd=project)
    assert failing.returncode == 1
    assert "failed note-" in failing.stderr
    assert engine("diff", "--stat", cwd=project).stdout.count("pending") == 3
    none = engine("rerun", "--task", "nobody", "--note", "x", cwd=project).stdout
    assert none.endswith(": 3 changes wait, and --task and --where leave none of them\n")
    assert engine("diff", "--task", "nobody", cwd=project).stderr.endswith(
        "3 changes wait, and --task and --where leave none of them\n"
    )
    assert "Missing option '--note'" in engine("rerun", cwd=project).stderr

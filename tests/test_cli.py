"""The command line, as a user runs it: real processes, exit codes, where text goes."""

import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest
from projects import MANIFEST, SOURCE, call
from scripted_server import slow

from engine.cli import _words


def engine(*argv: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "engine", *map(str, argv)],
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def run_bundle(bundle: Path, project: Path, server, *more: object) -> subprocess.CompletedProcess[str]:
    return engine("run", bundle, "--target", "src", "--base-url", server.api, *more, cwd=project)


def test_the_main_job(bundle, project, server) -> None:
    ran = run_bundle(bundle, project, server)
    assert ran.returncode == 0, ran.stderr
    assert "3 finished; 3 changes offered" in ran.stdout
    assert ran.stderr.count("ok note src/a.py") == 3
    assert (project / "src/a.py").read_text() == SOURCE
    diff = engine("diff", cwd=project)
    assert diff.returncode == 0
    assert diff.stdout.count("+    # does it") + diff.stdout.count("+        # does it") == 3
    accepted = engine("accept", cwd=project)
    assert (accepted.returncode, "3 changes accepted" in accepted.stdout) == (0, True)
    again = engine("accept", cwd=project)
    assert (again.returncode, "nothing waits" in again.stdout) == (0, True)
    assert (project / "src/a.py").read_text().count("# does it") == 3


def test_the_diff_is_one_that_git_applies(bundle, project, server) -> None:
    run_bundle(bundle, project, server, "--limit", "1")
    patch = engine("diff", cwd=project).stdout
    subprocess.run(["git", "apply", "-"], input=patch, text=True, cwd=project, check=True)
    applied = (project / "src/a.py").read_text()
    (project / "src/a.py").write_text(SOURCE)
    engine("accept", cwd=project)
    assert (project / "src/a.py").read_text() == applied


def test_the_diff_of_a_file_with_crlf_applies_too(bundle, project, server) -> None:
    (project / "src/a.py").write_bytes(SOURCE.replace("\n", "\r\n").encode())
    run_bundle(bundle, project, server, "--limit", "1")
    command = [sys.executable, "-m", "engine", "diff"]
    patch = subprocess.run(command, cwd=project, capture_output=True, check=True).stdout
    subprocess.run(["git", "apply", "-"], input=patch, cwd=project, check=True)
    assert b"    # does it\r\n" in (project / "src/a.py").read_bytes()


def test_nodes_and_run_name_a_node_alike(bundle, project, server) -> None:
    (project / "src/pyproject.toml").write_text("[project]\nname = 'inner'\n")
    listed = json.loads(engine("nodes", "src", "--type", "function", "--json", cwd=project).stdout)
    assert {node["file_path"] for node in listed} == {"src/a.py"}
    ran = run_bundle(bundle, project, server, "--node", listed[0]["node_id"], "--json")
    started = [json.loads(line) for line in ran.stdout.splitlines() if "task:started" in line]
    assert [event["node_id"] for event in started] == [listed[0]["node_id"]]


def test_json_is_events_line_by_line_and_nothing_else(bundle, project, server) -> None:
    ran = run_bundle(bundle, project, server, "--json")
    events = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert events[-1]["type"] == "run:finished"
    logged = engine("events", cwd=project)
    assert [json.loads(line) for line in logged.stdout.splitlines()] == events
    runs = json.loads(engine("runs", "--json", cwd=project).stdout)
    assert [(run["run_id"], run["status"]) for run in runs] == [(events[0]["run_id"], "finished")]


def test_show_tells_what_came_of_it(bundle, project, server) -> None:
    run_bundle(bundle, project, server)
    assert engine("show", cwd=project).stdout.count("finished  note-") == 3
    turns = engine("show", "--task", "second", cwd=project).stdout
    assert "Comment second:" in turns
    assert "[reply, 3 tokens" in turns


def test_failed_tasks_give_exit_code_1(bundle, project, server) -> None:
    server.text = "no"
    ran = run_bundle(bundle, project, server)
    assert ran.returncode == 1
    assert "3 failed" in ran.stdout
    assert "Traceback" not in ran.stderr


def test_dry_run_and_render_call_no_model(bundle, project, server) -> None:
    planned = run_bundle(bundle, project, server, "--dry-run")
    assert planned.returncode == 0
    assert planned.stdout.count("note  src/a.py:") == 3
    assert "prompt tokens" in planned.stdout
    shown = engine("render", bundle, "--target", "src/a.py::Thing.third", "--base-url", server.api, cwd=project)
    assert shown.returncode == 0, shown.stderr
    assert "Comment third:" in shown.stdout
    assert "root ::=" in shown.stdout
    as_json = engine("render", bundle, "--target", "src/a.py::first", "--base-url", server.api, "--json", cwd=project)
    rendered = json.loads(as_json.stdout)
    assert rendered["messages"][-1]["content"].startswith("Comment first:")
    assert rendered["tools"][0]["name"] == "add_comment"
    assert server.bodies == []
    assert not (project / ".engine").exists()


def test_render_shows_what_run_sends(bundle, project, server) -> None:
    shown = engine("render", bundle, "-t", "src/a.py::first", "--base-url", server.api, "--json", cwd=project)
    run_bundle(bundle, project, server, "--node", "first")
    rendered = json.loads(shown.stdout)
    assert server.bodies[-1]["messages"] == rendered["messages"]
    assert server.bodies[-1]["structured_outputs"]["grammar"] == rendered["constraint"]["value"]


def test_render_shows_the_constraint_that_the_server_takes(bundle, project, server) -> None:
    (project / "engine.yaml").write_text(f"backend: {{kind: openai, base_url: {server.api}, dialect: openai}}\n")
    options = ["render", bundle, "-t", "src/a.py::first", "--json"]
    assert json.loads(engine(*options, cwd=project).stdout)["constraint"]["kind"] == "json_schema"
    refused = engine(*options, "--plugin", "qwen_coder", cwd=project)
    assert refused.returncode == 2
    assert "writes ebnf, structural_tag, and the server takes only json_schema, strict_tools" in refused.stderr


@pytest.mark.parametrize(
    ("argv", "code", "words"),
    [
        (["rum"], 2, "Did you mean 'run'"),
        (["run"], 2, "BUNDLE"),
        (["run", "missing", "--target", "src"], 2, "no bundle 'missing'"),
        (["run", "{bundle}", "--target", "nowhere"], 2, "nowhere"),
        (["run", "{bundle}", "--target", "src", "--param", "x"], 2, "name=value"),
        (["run", "{bundle}", "--target", "src", "--param", "x=1"], 2, "x"),
        (["run", "{bundle}", "--target", "src", "--plugin", "qwem"], 2, "qwen"),
        (["run", "{bundle}", "--target", "src", "--adapter", "a"], 2, "adapter"),
        (["run", "{bundle}", "--target", "src", "--base-url", "http://127.0.0.1:9/v1"], 2, "127.0.0.1:9"),
        (["run", "{bundle}", "--target", "src", "--model", "gtp"], 2, "gtp"),
        (["render", "{bundle}", "--target", "src/a.py::fist"], 2, "first"),
        (["accept", "20200101-000000-abcd"], 2, "20200101"),
        (["diff"], 2, "run"),
        (["explain", "X999"], 2, "X999"),
        (["nodes", "nowhere"], 2, "nowhere"),
        (["models", "path", "gtp"], 2, "gtp"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_usage_is_one_clear_error(argv, code, words, bundle, project) -> None:
    result = engine(*[part.format(bundle=bundle) for part in argv], cwd=project)
    assert (result.returncode, result.stdout) == (code, "")
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr


def test_an_invalid_bundle_prints_its_findings(bundle, project) -> None:
    (bundle / "bundle.yaml").write_text(MANIFEST.replace("max_turns", "max_turn"))
    result = engine("run", bundle, "--target", "src", cwd=project)
    assert result.returncode == 1
    assert "S001" in result.stderr
    assert "max_turns" in result.stderr


def test_render_says_why_a_node_is_not_taken(bundle, project) -> None:
    (bundle / "bundle.yaml").write_text(MANIFEST.replace("nodes: {", "nodes: {when: \"node.name != 'first'\", "))
    result = engine("render", bundle, "-t", "src/a.py::first", cwd=project)
    assert (result.returncode, "does not take first" in result.stderr) == (2, True)


def test_roles_are_refused_and_no_other_model_answers(bundle, project, server) -> None:
    (bundle / "bundle.yaml").write_text(MANIFEST.replace("plugin: qwen", "plugin: qwen, role: llm.inference"))
    refused = run_bundle(bundle, project, server)
    assert (refused.returncode, "llm.inference" in refused.stderr) == (2, True)
    (bundle / "bundle.yaml").write_text(MANIFEST)
    (project / "engine.yaml").write_text("backend: {kind: roles, file: hub.yaml}\n")
    refused = run_bundle(bundle, project, server)
    assert (refused.returncode, "roles" in refused.stderr) == (2, True)
    assert server.bodies == []


def test_environment_variables_stand_for_options(bundle, project, server) -> None:
    result = engine("run", bundle, "-t", "src", cwd=project, ENGINE_RUN_BASE_URL=server.api, ENGINE_RUN_LIMIT="1")
    assert "1 finished" in result.stdout
    result = engine(
        "run", bundle, "-t", "src", cwd=project, ENGINE_BACKEND_KIND="openai", ENGINE_BACKEND_BASE_URL=server.api
    )
    assert "3 finished" in result.stdout


def test_ctrl_c_stops_cleanly(bundle, project, server) -> None:
    server.chat = [slow(30)] * 3
    argv = [sys.executable, "-m", "engine", "run", str(bundle), "-t", "src", "--base-url", server.api]
    process = subprocess.Popen(argv, cwd=project, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while not server.bodies:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert json.loads(engine("runs", "--json", cwd=project).stdout)[0]["status"] == "interrupted"


def test_text_of_a_model_cannot_drive_the_terminal(bundle, project, server) -> None:
    server.text = lambda body: call("a\x1b]0;owned\x07b\u202ec")
    ran = run_bundle(bundle, project, server)
    outputs = [ran.stdout, ran.stderr]
    outputs += [engine(verb, cwd=project, FORCE_COLOR="", NO_COLOR="1").stdout for verb in ("diff", "show")]
    assert not any({"\x1b", "\x07", "\u202e"} & set(output) for output in outputs)


def test_quiet_and_a_closed_pipe(bundle, project, server) -> None:
    quiet = engine("-q", "run", bundle, "-t", "src", "--base-url", server.api, cwd=project)
    assert quiet.stderr == ""
    assert "3 finished" in quiet.stdout
    script = f"{sys.executable} -m engine events | head -1"
    piped = subprocess.run(["bash", "-c", script], cwd=project, capture_output=True, text=True, check=False)
    assert piped.stderr == ""


def test_quiet_may_stand_behind_the_verb_too(bundle, project, server) -> None:
    assert run_bundle(bundle, project, server, "--quiet").stderr == ""
    assert engine("runs", "prune", "-q", "--keep", "0", cwd=project).stderr == ""
    assert "kept: " in engine("runs", "prune", "--keep", "0", cwd=project).stderr
    assert "asyncio: " in engine("run", "missing", "-t", "src", "--verbose", cwd=project).stderr


def test_color_is_as_the_environment_says(bundle, project, server) -> None:
    run_bundle(bundle, project, server)
    assert "\x1b[32m+" in engine("diff", cwd=project, NO_COLOR="", FORCE_COLOR="1").stdout
    assert "\x1b" not in engine("diff", cwd=project, NO_COLOR="", FORCE_COLOR="").stdout
    for verb in (["run", "missing", "-t", "src"], ["show", "20200101"]):
        assert "\x1b[31m" in engine(*verb, cwd=project, NO_COLOR="", FORCE_COLOR="1").stderr
        assert "\x1b" not in engine(*verb, cwd=project, NO_COLOR="1", FORCE_COLOR="1").stderr


@pytest.mark.parametrize("verb", ["run", "show"])
def test_no_color_holds_on_a_terminal(verb, project) -> None:
    argv = [sys.executable, "-m", "engine", verb, *(["missing", "-t", "src"] if verb == "run" else ["20200101"])]
    shown = pexpect.run(shlex.join(argv), cwd=str(project), env={**os.environ, "NO_COLOR": "1", "TERM": "xterm"})
    assert b"error: " in shown
    assert b"\x1b" not in shown


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path) -> None:
    said = _words(OSError(errno.EROFS, os.strerror(errno.EROFS), str(tmp_path / "f")))
    assert said == f"{tmp_path}/f: Read-only file system; nothing can be written there"
    assert _words(ValueError("x")).startswith("internal error: ValueError: x")


def test_help_of_every_verb() -> None:
    verbs = re.findall(r"^  ([a-z]+)  ", engine("--help").stdout, re.MULTILINE)
    assert {"validate", "run", "diff", "accept", "reject", "render", "nodes", "models"} <= set(verbs)
    for verb in verbs:
        result = engine(verb, "--help")
        assert result.returncode == 0, result.stderr
        assert result.stdout.startswith(f"Usage: engine {verb}")

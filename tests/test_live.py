"""A run on a real terminal, in this process and from another one; and where there is no terminal."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from projects import SOURCE, call, make_project
from scripted_server import ScriptedServer
from terminal import Terminal
from terminal import engine as argv

MANY = {f"src/m{part}.py": "".join(f"def f{n}(a):\n    return {n}\n\n\n" for n in range(42)) for part in range(5)}
PLACE = re.compile(r"def (\w+)")


@pytest.fixture
def gate(server: ScriptedServer) -> Iterator[threading.Event]:
    """Hold back every reply until it is set; what the node is called says how the task ends."""
    opened = threading.Event()

    def answer(body: Any) -> str:
        opened.wait(60)
        return call("does it")

    server.text = answer
    yield opened
    opened.set()


def run(bundle: Path, server: ScriptedServer, *options: object) -> list[str]:
    return argv("run", bundle, "--target", ".", "--base-url", server.api, "--concurrency", "4", *options)


def cursor_is_shown(terminal: Terminal) -> bool:
    return terminal.raw.rfind(b"\x1b[?25l") < terminal.raw.rfind(b"\x1b[?25h")


def fails_for(server: ScriptedServer, *names: str) -> None:
    """Have the model answer in words where it is asked about these functions."""
    server.text = lambda body: "no" if any(f"def {name}(" in json.dumps(body) for name in names) else call("does it")


# -- engine run


def test_a_run_shows_what_is_in_flight_and_then_what_came_of_it(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event
) -> None:
    with Terminal(run(bundle, server), project) as terminal:
        terminal.wait_for(r"0/3 tasks, 0%, 0:0\d, time left unknown until the first tasks are done")
        terminal.wait_for(r"turn 1 waits for the model \d\.\d s +note src/a\.py:1 first")
        terminal.wait_for(r"src/a\.py:5 second\n.*src/a\.py:10 Thing\.third")
        assert "plan: 2 of note on function, 1 of note on method;" in terminal.text
        gate.set()
        terminal.wait_for(r"run \S+: 3 finished; 3 changes offered; 30 tokens; ")
        assert terminal.end() == 0
        assert len(re.findall(r"^ok note src/a\.py:\d+ ", terminal.text, re.MULTILINE)) == 3
        assert "waits for the model" not in terminal.text  # the view is gone
        assert (cursor_is_shown(terminal), terminal.is_sane) == (True, True)


def test_of_many_tasks_only_those_that_fail_scroll_by(bundle: Path, tmp_path: Path, server: ScriptedServer) -> None:
    project = make_project(tmp_path / "many", MANY)
    fails_for(server, "f7", "f31")
    with Terminal(run(bundle, server), project) as terminal:
        terminal.wait_for(r"run \S+: 200 finished, 10 failed; 200 changes offered")
        assert terminal.end() == 1
        shown = terminal.text
    assert "ok note" not in shown
    assert len(re.findall(r"^failed note src/m\d\.py:\d+ f(?:7|31): the model answered", shown, re.MULTILINE)) == 10
    assert "what failed: engine show --state failed" in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_gives_the_terminal_back(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event, number: signal.Signals
) -> None:
    with Terminal(run(bundle, server), project) as terminal:
        terminal.wait_for("waits for the model")
        terminal.press("\x03") if number == signal.SIGINT else terminal.tell(number)
        terminal.wait_for("interrupted; the project's files are as they were")
        assert terminal.end() == 130
        assert (cursor_is_shown(terminal), terminal.is_sane) == (True, True)
        assert "the run ended before the task did" not in terminal.text


def test_a_run_that_goes_on_shows_what_was_done_before(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event
) -> None:
    held = server.text
    server.text = lambda body: call("does it") if "def first" in json.dumps(body) else held(body)
    with Terminal(run(bundle, server), project) as terminal:
        terminal.wait_for("1/3 tasks, 33%")
        terminal.press("\x03")
        assert terminal.end() == 130
    with Terminal(argv("resume"), project) as terminal:
        terminal.wait_for(r"1/3 tasks, 33%, .*\n1 finished; .*waits for the model.*Thing\.third")
        gate.set()
        terminal.wait_for(r"run \S+: 3 finished; 3 changes offered; 30 tokens; ")
        assert terminal.end() == 0


def test_a_run_that_cannot_start_gives_the_terminal_back(bundle: Path, project: Path) -> None:
    command = argv("run", bundle, "--target", ".", "--base-url", "http://127.0.0.1:9/v1")
    with Terminal(command, project) as terminal:
        terminal.wait_for("error")
        assert terminal.end() == 2
        assert (b"\x1b[?25l" in terminal.raw, terminal.is_sane) == (False, True)


@pytest.mark.parametrize("size", [(6, 24), (3, 10)])
def test_a_small_terminal_is_not_overrun(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event, size: tuple[int, int]
) -> None:
    with Terminal(run(bundle, server), project, size=size) as terminal:
        terminal.wait_for("0/3 tas")
        for _ in range(2):  # some frames
            terminal.wait(lambda drawn=terminal.raw: terminal.raw != drawn, "another frame", 30)
        assert terminal.text.count("0/3 tas") == 1
        gate.set()
        assert terminal.end() == 0
        assert cursor_is_shown(terminal)


def test_the_view_follows_the_size_of_the_terminal(
    bundle: Path, tmp_path: Path, server: ScriptedServer, gate: threading.Event
) -> None:
    project = make_project(tmp_path / "many", MANY)
    with Terminal(run(bundle, server, "--concurrency", "12"), project, size=(40, 100)) as terminal:
        terminal.wait_for(r"(?:[^\n]*waits for the model[^\n]*\n){12}")
        terminal.resize(12, 50)
        terminal.wait_for(r"and \d+ more tasks")
        terminal.resize(40, 100)
        terminal.wait_for(r"(?:[^\n]*waits for the model[^\n]*\n){12}")
        gate.set()
        assert terminal.end() == 0


def test_names_and_words_of_others_drive_nothing(bundle: Path, tmp_path: Path, server: ScriptedServer) -> None:
    project = make_project(tmp_path / "odd", {"src/[red]x\x1b]0;title\x07.py": SOURCE})
    server.text = "\x1b[2J[bold]gone\x9b31m\x1b]52;c;aGk=\x07"
    with Terminal(run(bundle, server), project) as terminal:
        terminal.wait_for("3 failed")
        assert terminal.end() == 1
        for wild in (b"\x1b]0;title", b"\x1b[2J", b"\x1b]52", "\x9b".encode()):
            assert wild not in terminal.raw
        assert "[red]x" in terminal.text


def test_without_colours_there_are_none(bundle: Path, project: Path, server: ScriptedServer) -> None:
    command = ["env", "NO_COLOR=1", *run(bundle, server)]
    with Terminal(command, project) as terminal:
        assert terminal.end() == 0
        assert "3 finished" in terminal.text
        assert not re.search(rb"\x1b\[[0-9;]*3[0-9]", terminal.raw)


@pytest.mark.parametrize(("quiet", "dumb"), [(True, False), (False, True)])
def test_quiet_and_dumb_terminals_get_no_view(
    bundle: Path, project: Path, server: ScriptedServer, quiet: bool, dumb: bool
) -> None:
    command = run(bundle, server)
    command = [*command[:3], "--quiet", *command[3:]] if quiet else command
    with Terminal(["env", f"TERM={'dumb' if dumb else 'xterm'}", *command], project) as terminal:
        assert terminal.end() == 0
        assert b"\x1b[?25l" not in terminal.raw
        assert ("ok note" in terminal.text, "plan:" in terminal.text) == (dumb, dumb)
        assert "3 finished" in terminal.text


# -- without a terminal


def test_plain_lines_of_many_tasks_stay_useful(bundle: Path, tmp_path: Path, server: ScriptedServer) -> None:
    project = make_project(tmp_path / "many", MANY)
    fails_for(server, "f7")
    answer = server.text
    server.text = lambda body: time.sleep(0.05) or answer(body)
    ran = subprocess.run(run(bundle, server), cwd=project, capture_output=True, text=True, check=False)
    lines = ran.stderr.splitlines()
    assert "205 finished, 5 failed; " in ran.stdout
    assert "210 tasks on 210 nodes of 5 files" in ran.stderr
    assert [line for line in lines if line.startswith("ok")] == []
    assert sum(line.startswith("failed note") for line in lines) == 5
    sums = [line for line in lines if re.match(r"\d+/210 tasks \(\d+%\); ", line)]
    assert 1 <= len(sums) <= 30
    assert "tasks/min" in sums[0]


# -- engine top


@contextlib.contextmanager
def running(bundle: Path, project: Path, server: ScriptedServer, *options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Have a run going on in another process."""
    with subprocess.Popen(
        run(bundle, server, *options), cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("it never came")


def asked(server: ScriptedServer, number: int) -> Callable[[], bool]:
    return lambda: len(server.bodies) >= number


def test_top_follows_a_run_of_another_process_to_its_end(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event
) -> None:
    with running(bundle, project, server) as child:
        until(asked(server, 3))
        with Terminal(argv("top"), project) as terminal:
            terminal.wait_for(r"run \S+: running\n.*0/3 tasks.*waits for the model.*src/a\.py:1 first")
            gate.set()
            terminal.wait_for(r"run \S+: finished\n.*3/3 tasks, 100%, 0:\d\d, done\n3 finished; .*30 tokens")
            assert terminal.end() == 0
            assert terminal.raw.rfind(b"\x1b[?1049h") < terminal.raw.rfind(b"\x1b[?1049l")
            assert (cursor_is_shown(terminal), terminal.is_sane) == (True, True)
        assert child.wait(60) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_leaving_top_leaves_the_run_alone(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event, number: signal.Signals
) -> None:
    with running(bundle, project, server) as child:
        until(asked(server, 3))
        with Terminal(argv("top"), project) as terminal:
            terminal.wait_for("waits for the model")
            terminal.press("\x03") if number == signal.SIGINT else terminal.tell(number)
            assert terminal.end() == 130
            assert (cursor_is_shown(terminal), terminal.is_sane) == (True, True)
            assert terminal.raw.rfind(b"\x1b[?1049h") < terminal.raw.rfind(b"\x1b[?1049l")
        gate.set()
        assert child.wait(60) == 0


def test_top_ends_when_the_process_of_the_run_is_gone(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event
) -> None:
    with running(bundle, project, server) as child:
        until(asked(server, 3))
        with Terminal(argv("top"), project) as terminal:
            terminal.wait_for("waits for the model")
            child.kill()
            child.wait()
            terminal.wait_for(r"run \S+: interrupted\n.*engine resume \S+ goes on")
            assert terminal.end() == 0


def test_top_prints_once_where_there_is_no_terminal(
    bundle: Path, project: Path, server: ScriptedServer, gate: threading.Event
) -> None:
    with running(bundle, project, server) as child:
        until(asked(server, 3))
        shown = subprocess.run(argv("top"), cwd=project, capture_output=True, text=True, check=True).stdout
        assert re.match(r"run \S+: running\n0/3 tasks, 0%, ", shown)
        assert shown.count("waits for the model") == 3
        assert "\x1b" not in shown
        found = json.loads(
            subprocess.run(argv("top", "--json"), cwd=project, capture_output=True, text=True, check=True).stdout
        )
        assert (found["status"], found["tasks"], found["done"], found["seconds_left"]) == ("running", 3, 0, None)
        assert [one["doing"] for one in found["in_flight"]] == ["waits for the model"] * 3
        gate.set()
        assert child.wait(60) == 0
    found = json.loads(
        subprocess.run(argv("top", "--json"), cwd=project, capture_output=True, text=True, check=True).stdout
    )
    assert (found["status"], found["outcomes"], found["in_flight"]) == ("finished", {"finished": 3}, [])
    assert (found["prompt_tokens"], found["completion_tokens"], found["changes"]) == (21, 9, 3)


def test_top_without_a_run_says_how_to_start_one(project: Path) -> None:
    shown = subprocess.run(argv("top"), cwd=project, capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "holds no run yet" in shown.stderr
    assert not (project / ".engine").exists()


def test_a_variable_stands_for_each_option(project: Path) -> None:
    environment = {**os.environ, "ENGINE_TOP_JSON": "1", "ENGINE_TOP_PROJECT": str(project)}
    shown = subprocess.run(argv("top"), capture_output=True, text=True, check=False, env=environment)
    assert shown.returncode == 2
    assert "holds no run yet" in shown.stderr

"""Following a run that another process writes: what comes, in which order, and when it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest
from event_parts import IDENTITY, start_engine, writing_process
from test_cli import engine

from engine.events import (
    ErrorOccurred,
    EventFilter,
    EventLog,
    LogReader,
    RunFinished,
    RunResumed,
    RunStarted,
    TaskFinished,
    TaskRow,
    TaskStarted,
)

START = 'log.append(RunStarted(run_id="r", bundles=(), targets=()))'
END = 'log.append(RunFinished(run_id="r", status="finished", finished=1, failed=0, stopped=0, changes=0, seconds=1))'


def say(number):
    return f'log.append(ErrorOccurred(run_id="r", task_id="t", error_type="x", message="{number}"))'


@pytest.fixture
def path(tmp_path):
    (tmp_path / "engine.yaml").write_text("")
    return tmp_path / ".engine" / "events.db"


def test_what_another_process_stores_comes_in_order_until_the_run_ends(path):
    with writing_process(path) as writer, LogReader(path) as reader:
        writer.do(START)
        follower = reader.follow("r")
        assert [event["type"] for event in follower.wait(10)] == ["run:started"]
        assert follower.poll() == []
        for number in range(3):
            writer.do(say(number))
            assert [event["message"] for event in follower.wait(10)] == [str(number)]
        assert not follower.ended
        writer.do(f"{say(3)}; {END}")
        assert [event["type"] for event in follower] == ["error:occurred", "run:finished"]
        assert (follower.ended, follower.gone, follower.record.status, follower.after) == (True, False, "finished", 6)
        assert follower.poll() == follower.wait(10) == list(follower) == []


async def test_it_is_followed_from_an_event_loop_too(path):
    with writing_process(path) as writer, LogReader(path) as reader:
        writer.do(START)
        seen = []
        async for event in reader.follow("r"):
            seen.append(event["seq"])
            if len(seen) < 4:
                writer.do(say(len(seen)))
            elif len(seen) == 4:
                writer.do(END)
        assert seen == [1, 2, 3, 4, 5]


def test_following_ends_when_the_process_is_gone(path):
    with writing_process(path) as writer, LogReader(path) as reader:
        writer.do(START)
        follower = reader.follow("r")
        thread = threading.Timer(0.2, writer.kill)
        thread.start()
        assert [event["type"] for event in follower] == ["run:started"]
        assert (follower.ended, follower.gone, follower.record.status) == (True, True, "interrupted")
        thread.join()


def test_a_run_that_goes_on_in_another_process_is_followed_there(path):
    with EventLog(path) as log:
        with writing_process(path) as writer:
            writer.do(START)
            writer.kill()
        assert log.run("r").status == "interrupted"
        log.append(RunResumed(run_id="r", done=1, left=2))
        log.flush()
        with LogReader(path) as reader:
            follower = reader.follow("r", after=1)
            assert [event["type"] for event in follower.wait(10)] == ["run:resumed"]
            assert not follower.ended
            assert reader.run("r").status == "running"


def test_a_long_run_comes_in_pages(path):
    with EventLog(path) as log:
        log.append(RunStarted(run_id="r", bundles=(), targets=()))
        for number in range(2500):
            log.append(ErrorOccurred(run_id="r", error_type="x", message=str(number)))
        log.append(RunFinished(run_id="r", status="failed", finished=0, failed=0, stopped=0, changes=0, seconds=0.0))
    with LogReader(path) as reader:
        follower = reader.follow("r", after=1)
        assert [len(follower.poll()) for _ in range(4)] == [1000, 1000, 501, 0]
        assert [event["seq"] for event in reader.follow("r")] == list(range(1, 2503))


def test_a_run_that_is_not_there_ends_at_once(path):
    with LogReader(path) as reader:
        follower = reader.follow("r")
        assert list(follower) == []
        assert (follower.ended, follower.gone, follower.record) == (True, False, None)


def test_events_are_chosen_by_type_and_by_the_names_of_their_task(path):
    with EventLog(path) as log:
        log.plan([TaskRow("r", "t1", 0, "b", "", "n", "A.one", "function", "src/a.py", 1)])
        for task_id, node, file in (("t1", "A.one", "src/a.py"), ("t2", "two", "src/b.py")):
            names = IDENTITY | {"node": node, "file": file}
            log.append(TaskStarted(run_id="r", task_id=task_id, **names))
            log.append(TaskFinished(run_id="r", task_id=task_id, outcome="finished", reason="done", **names))
        log.append(ErrorOccurred(run_id="r", error_type="x", message="of the run"))
        log.append(ErrorOccurred(run_id="r", task_id="unknown", error_type="x", message="of no row"))
        log.flush()

        def chosen(types=(), tasks=()):
            wanted = EventFilter(log, tuple(types), tuple(tasks))
            return [event["seq"] for event in log.events("r") if wanted(event)]

        assert chosen() == [1, 2, 3, 4, 5, 6]
        assert chosen(["task:*"]) == [1, 2, 3, 4]
        assert chosen(["task:started", "error:*"]) == [1, 3, 5, 6]
        assert chosen(tasks=["t1"]) == chosen(tasks=["A.*"]) == chosen(tasks=["src/a.py::A.one"]) == [1, 2]
        assert chosen(tasks=["*/b.py"]) == [3, 4]
        assert chosen(tasks=["unknown"]) == [6]
        assert chosen(["*:finished"], ["t?"]) == [2, 4]
        assert chosen(tasks=["t"]) == []


# -- the verb


def test_lines_come_while_the_run_goes_on_and_end_with_it(path, tmp_path):
    with writing_process(path) as writer:
        writer.do(START)
        with start_engine("events", "--follow", cwd=tmp_path) as following:
            assert json.loads(following.stdout.readline())["type"] == "run:started"
            writer.do(say(1))
            assert json.loads(following.stdout.readline())["message"] == "1"
            writer.do(END)
            assert [json.loads(line)["seq"] for line in following.stdout] == [3]
            assert (following.wait(20), following.stderr.read()) == (0, "")


def test_only_the_wanted_lines_are_printed(path, tmp_path):
    with writing_process(path) as writer:
        for line in (START, say(1), say(2), END):
            writer.do(line)
    choices = ("--after", 2, "--type", "error:*", "--task", "t")
    for flags in ((), ("--follow",)):
        ran = engine("events", "r", *flags, *choices, cwd=tmp_path)
        assert [json.loads(line)["seq"] for line in ran.stdout.splitlines()] == [3]


def test_a_process_that_is_gone_is_told_of(path, tmp_path):
    with writing_process(path) as writer:
        writer.do(START)
        with start_engine("events", "-f", cwd=tmp_path) as following:
            following.stdout.readline()
            writer.kill()
            assert following.wait(20) == 0
            assert "the run's process is gone" in following.stderr.read()


def test_a_pipe_that_closes_ends_it_though_no_event_comes(path, tmp_path):
    with writing_process(path) as writer:
        writer.do(START)
        with start_engine("events", "--follow", cwd=tmp_path) as following:
            following.stdout.readline()
            following.stdout.close()
            assert following.wait(20) in (0, 1)
            assert following.stderr.read() == ""


def test_ctrl_c_ends_it(path, tmp_path):
    with writing_process(path) as writer:
        writer.do(START)
        with start_engine("events", "--follow", cwd=tmp_path) as following:
            following.stdout.readline()
            following.send_signal(signal.SIGINT)
            assert (following.wait(20), following.stderr.read().strip()) == (130, "")


def test_half_a_surrogate_pair_is_a_line_too(path, tmp_path):
    with EventLog(path) as log:
        log.append(ErrorOccurred(run_id="r", error_type="x", message="ä \ud800"))
        log.append(ErrorOccurred(run_id="r", error_type="x", message="ä"))
    command = [sys.executable, "-m", "engine", "events", "r"]
    first, second = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout.splitlines()
    assert json.loads(first)["message"] == "ä \ud800"
    assert "ä".encode() in second

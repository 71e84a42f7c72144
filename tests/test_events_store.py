"""The store under the event log: plans, versions, the size of its files, many processes, a clock that jumps."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from event_parts import IDENTITY, writing_process
from test_cli import engine

from engine.errors import LogError
from engine.events import (
    ErrorOccurred,
    EventLog,
    LogReader,
    ModelResponded,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskRow,
    TaskStarted,
    Used,
)
from engine.events.schema import WAL_LIMIT
from engine.messages import Usage

VERSION_1 = Path(__file__).parent / "data/events-version-1.db"


@pytest.fixture
def path(tmp_path):
    (tmp_path / "engine.yaml").write_text("")
    (tmp_path / ".engine").mkdir()
    return tmp_path / ".engine" / "events.db"


def started(run_id="r"):
    return RunStarted(run_id=run_id, bundles=("b",), targets=("src",))


def note(text, run_id="r"):
    return ErrorOccurred(run_id=run_id, error_type="x", message=text)


def planned(number, run_id="r", **fields):
    row = TaskRow(run_id, f"t{number}", number, "b", "", "n", f"f{number}", "function", "a.py", number + 1)
    return row._replace(**fields)


def ended(task_id, **fields):
    return TaskFinished(
        run_id="r", task_id=task_id, **IDENTITY, node="f", **{"outcome": "finished", "reason": ""} | fields
    )


# -- plans


class Rows:
    """A plan that makes its rows as it is read, and says who read it."""

    def __init__(self, count):
        self.count, self.readers = count, []

    def __iter__(self):
        self.readers.append(threading.get_ident())
        return (planned(number) for number in range(self.count))


def test_a_plan_of_100_000_tasks_is_read_and_stored_off_the_callers_thread(path):
    rows = Rows(100_000)
    with EventLog(path) as log:
        log.append(started())
        log.plan(rows)
        log.append(TaskStarted(run_id="r", task_id="t7", node="f7", **IDENTITY))
        log.flush()
        assert log.task_counts("r") == {"planned": 99_999, "running": 1}
        assert [row.place for row in log.tasks("r")] == list(range(100_000))
    assert len(rows.readers) == 1
    assert rows.readers[0] != threading.get_ident()


@pytest.mark.parametrize("make", [Rows, lambda count: iter(Rows(count)), lambda count: list(Rows(count))])
def test_a_plan_that_meets_a_lock_is_stored_later_and_once(path, make):
    with EventLog(path, patience=0.05) as log:
        with sqlite3.connect(path, isolation_level=None) as raw:
            raw.execute("BEGIN IMMEDIATE")
            log.plan(make(5))
            with pytest.raises(LogError, match="locked"):
                log.flush()
            raw.execute("ROLLBACK")
        raw.close()
        log.flush()
        assert [row.task_id for row in log.tasks("r")] == ["t0", "t1", "t2", "t3", "t4"]


def test_tasks_that_are_known_stay_as_they_are(path):
    with EventLog(path) as log:
        log.plan([planned(0), planned(1)])
        log.append(ended("t0", usage=Usage(3, 4), attempts=2, changed_files=("a", "b"), cached=True, seconds=1.5))
        log.plan([planned(0), planned(1), planned(2)])
        log.flush()
        assert [row.state for row in log.tasks("r")] == ["finished", "planned", "planned"]
        done = planned(0, state="finished", attempts=2, seconds=1.5, prompt_tokens=3, completion_tokens=4)
        assert log.task("r", "t0") == done._replace(changes=2, cached=1)
        assert log.tasks("r", ["planned", "failed"]) == [planned(1), planned(2)]
        assert log.task("r", "t9") is None


def test_names_that_no_database_can_hold_are_spelled_out(path):
    with EventLog(path) as log:
        log.plan([planned(0, file="\udcff.py"), planned(1)])
        log.append(ended("t1", outcome="failed", reason="\ud800", error="\ud801", usage=Usage(10**30, 10**30)))
        log.append(TaskStarted(run_id="r", task_id="t2", **IDENTITY | {"file": "\udcff"}, node="\udcff"))
        log.flush()
        first, second, third = (log.task("r", f"t{number}") for number in range(3))
    assert first.file == "\\udcff.py"
    assert (second.reason, second.error, second.prompt_tokens) == ("\\ud800", "\\ud801", 2**63 - 1)
    assert third.file == third.node == "\\udcff"


# -- versions


def test_a_file_of_version_1_becomes_a_current_one_and_its_runs_still_show(path):
    shutil.copy(VERSION_1, path)
    with LogReader(path) as reader:
        unfinished, finished = reader.runs()
        assert (finished.status, finished.summary["changes"], unfinished.ended) == ("finished", 3, None)
        tasks = reader.tasks(finished.run_id)
        assert [(task.node, task.state, task.changes) for task in tasks] == [
            ("first", "finished", 1),
            ("second", "finished", 1),
            ("Thing.third", "finished", 1),
        ]
        assert (tasks[0].seconds, tasks[0].prompt_tokens, tasks[0].reason) == (0.075, 7, "termination_tool")
        replies = [one for one in reader.events(finished.run_id) if one["type"] == "model:responded"]
        tokens = [sum(one["usage"][name] for one in replies) for name in ("prompt_tokens", "completion_tokens")]
        assert ([finished.used.prompt_tokens, finished.used.completion_tokens], finished.used.tool_calls) == (tokens, 3)
        assert reader.task_counts(unfinished.run_id) == {"running": 2}
        assert [event["seq"] for event in reader.events(finished.run_id)] == list(range(1, 34))
    shown = engine("show", finished.run_id, cwd=path.parent.parent)
    assert (shown.returncode, shown.stdout.count("finished  note-")) == (0, 3)
    with EventLog(path) as log:
        assert log.append(note("later", finished.run_id)).seq == 34
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA user_version").fetchone() == (3,)
    raw.close()


def test_several_processes_that_meet_an_old_file_bring_it_up_to_date_once(path):
    shutil.copy(VERSION_1, path)
    code = "import sys; from engine.events import *; print(len(LogReader(sys.argv[1]).runs()))"
    command = [sys.executable, "-c", code, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["2\n"] * 4


# -- what a run used


def replied(prompt, completion, cost=None, run_id="r"):
    return ModelResponded(
        run_id=run_id, task_id="t", turn=1, model="m", adapter=None, text="", tool_calls_count=0, finish_reason="stop",
        usage=Usage(prompt, completion, 1), duration_ms=1.0, cost=cost,
    )  # fmt: skip


def test_what_a_run_used_is_added_up_with_its_events_by_whoever_writes_them(path):
    usage = "from engine.messages import Usage; log.append(ReplyLost(run_id='r', task_id='t', turn=1, model=None,"
    usage += " adapter=None, usage=Usage(5, 6), reason='x', cost=0.25)); log.append(ToolCalled(run_id='r', task_id='t',"
    usage += " turn=1, call_id='1', tool='x', arguments={}))"
    with EventLog(path) as log, writing_process(path) as other, LogReader(path) as reader:
        assert (log.used("r"), reader.used("r")) == (Used(), Used())
        log.append(started())
        for _ in range(3):
            log.append(replied(100, 10, 0.1))
        assert log.used("r") == Used(300, 30, 3, 3 * 10**11)  # at once
        log.flush()
        other.do(usage)
        assert reader.used("r") == reader.run("r").used == Used(300, 30, 3, 30 * 10**10, 0, 1, 11, 25 * 10**10)
        assert (reader.run("r").summary["cost"], reader.used("r").charged_cost) == (0.3, 0.55)
        log.append(replied(1, 1, run_id="other"))
        log.append(replied(1, 1))
        log.flush()
        assert reader.run("r").summary["cost"] is None
        assert reader.used("other") == Used(1, 1, 1, unpriced=1)


def test_a_server_that_counts_without_measure_does_not_break_the_sums(path):
    with EventLog(path) as log:
        log.append(started())
        for _ in range(3):
            log.append(replied(10**30, 10**30, 1e300))
        log.flush()
        assert LogReader(path).used("r").prompt_tokens == 3 * 2**53


# -- size of the files, readers and writers


def wal_size(path):
    return path.with_name("events.db-wal").stat().st_size


def test_the_write_ahead_log_shrinks_when_a_reader_lets_go_of_the_past(path):
    with EventLog(path) as log:
        log.append(started())
        log.flush()
        raw = sqlite3.connect(path, isolation_level=None)
        raw.execute("BEGIN")
        raw.execute("SELECT count(*) FROM runs").fetchone()
        for number in range(60):
            log.append(note("x" * 500_000))
            if number % 10 == 0:
                log.flush()
        log.flush()
        assert wal_size(path) > WAL_LIMIT
        assert raw.execute("SELECT count(*) FROM events").fetchone() == (1,)
        raw.close()
        for number in range(3):
            log.append(note(str(number)))
            log.flush()
        assert wal_size(path) <= WAL_LIMIT
    assert not path.with_name("events.db-wal").exists()


def test_the_write_ahead_log_stays_small_while_others_read_all_the_time(path):
    code = """if True:
        import sys
        from engine.events import LogReader
        with LogReader(sys.argv[1]) as reader:
            print("ready", flush=True)
            for event in reader.follow("r"):
                reader.events("r", limit=50)
    """
    pipe = subprocess.PIPE
    with EventLog(path) as log:
        log.append(started())
        log.flush()
        followers = [subprocess.Popen([sys.executable, "-c", code, path], stdout=pipe, text=True) for _ in range(2)]
        for process in followers:
            process.stdout.readline()
        sizes = []
        for _ in range(40):
            for _ in range(50):
                log.append(note("x" * 20_000))
            log.flush()
            sizes.append(wal_size(path))
        log.append(RunFinished(run_id="r", status="finished", finished=0, failed=0, stopped=0, changes=0, seconds=0))
        log.flush()
        assert [process.wait(60) for process in followers] == [0, 0]
        for process in followers:
            process.stdout.close()
    assert max(sizes) <= 2 * WAL_LIMIT
    assert path.stat().st_size > 2 * WAL_LIMIT


def test_a_reader_in_another_process_and_the_writer_never_wait_for_each_other(path):
    code = """if True:
        import sqlite3, sys
        raw = sqlite3.connect(sys.argv[1], isolation_level=None)
        raw.execute("BEGIN")
        print(raw.execute("SELECT count(*) FROM events").fetchone()[0], flush=True)
        sys.stdin.readline()
        print(raw.execute("SELECT count(*) FROM events").fetchone()[0], flush=True)
    """
    pipe = subprocess.PIPE
    with EventLog(path, patience=0) as log:
        log.append(started())
        log.flush()
        with subprocess.Popen([sys.executable, "-c", code, path], stdin=pipe, stdout=pipe, text=True) as process:
            assert process.stdout.readline() == "1\n"
            log.append(note("while it reads"))
            log.flush()
            assert process.communicate("\n", timeout=60)[0] == "1\n"
        with sqlite3.connect(path, isolation_level=None) as raw:
            raw.execute("BEGIN EXCLUSIVE")
            assert len(log.events("r")) == 2
            raw.execute("ROLLBACK")
        raw.close()


# -- the clock


def test_order_and_the_newest_run_do_not_depend_on_the_clock(path):
    times = iter([1000.0, 2000.0, 500.0, 3000.0, 100.0, 50.0, 20.0])
    with EventLog(path, clock=lambda: next(times)) as log:
        for run_id, texts in (("first", "ab"), ("second", "cd"), ("third", "")):
            log.append(started(run_id))
            for text in texts:
                log.append(note(text, run_id))
            log.flush()
            assert log.newest_run().run_id == log.resolve(None) == run_id
        assert [run.run_id for run in log.runs()] == ["third", "second", "first"]
        assert [(event["seq"], event["time"]) for event in log.events("first")] == [
            (1, 1000.0),
            (2, 2000.0),
            (3, 500.0),
        ]
        assert [event["message"] for event in log.events("first", after=1)] == ["a", "b"]


# -- death


WORK = """
import itertools, sys
from engine.events import *
log = EventLog(sys.argv[1])
names = {"bundle": "b", "node_id": "n", "node": "f", "file": "a.py", "line": 1}
log.append(RunStarted(run_id="r", bundles=(), targets=()))
log.plan(TaskRow("r", f"t{n}", n, "b", "", "n", "f", "function", "a.py", 1) for n in range(20_000))
log.append(RunPlanned(run_id="r", files=1, nodes=1, tasks=20_000))
print("ready", flush=True)
for number in range(20_000):
    log.append(TaskStarted(run_id="r", task_id=f"t{number}", **names))
    log.append(TaskFinished(run_id="r", task_id=f"t{number}", outcome="finished", reason="", **names))
"""


@pytest.mark.parametrize("milliseconds", [0, 3, 17, 40, 90, 160, 250, 400])
def test_whenever_it_is_killed_numbers_are_gapless_and_tasks_agree_with_events(path, milliseconds):
    with subprocess.Popen([sys.executable, "-c", WORK, path], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        threading.Event().wait(milliseconds / 1000)
        process.send_signal(signal.SIGKILL)
    with LogReader(path) as reader:
        events = reader.events("r")
        tasks = reader.tasks("r")
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    kinds = {kind: {e["task_id"] for e in events if e["type"] == kind} for kind in ("task:started", "task:finished")}
    assert len(tasks) in {0, 20_000}
    assert bool(tasks) or not any(event["type"] == "run:planned" for event in events)
    begun = kinds["task:started"]
    for task in tasks:
        assert (
            task.state
            == {0: "planned", 1: "running", 2: "finished"}[
                (task.task_id in begun) + (task.task_id in kinds["task:finished"])
            ]
        )
    with EventLog(path) as log:
        assert log.append(note("after")).seq == len(events) + 1


def test_a_process_that_dies_between_two_others_leaves_no_gap(path):
    with writing_process(path) as one, writing_process(path) as two:
        line = 'log.append(ErrorOccurred(run_id="r", error_type="x", message="m"))'
        for number in range(6):
            (one, two)[number % 2].do(line)
        one.process.stdin.write(f"for _ in range(1000): {line}\n")
        one.process.stdin.flush()
        one.kill()
        two.do(line)
    with LogReader(path) as reader:
        numbers = [event["seq"] for event in reader.events("r")]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_run_that_did_not_end_is_listed_as_far_as_it_got(path):
    with EventLog(path) as log:
        log.append(started())
        log.plan(planned(number) for number in range(4))
        log.append(ended("t1", changed_files=("a.py",)))
        log.append(ended("t2", outcome="failed"))
    listed = engine("runs", "--project", path.parent.parent)
    assert listed.returncode == 0, listed.stderr
    assert "1 finished, 1 failed, 0 stopped, 1 change, 2 left" in listed.stdout

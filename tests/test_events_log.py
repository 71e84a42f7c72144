"""The event log: order, durability, failure, many processes."""

from __future__ import annotations

import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.errors import ConfigError
from engine.events import Bus, ErrorOccurred, EventLog, LogReader, RunFinished, RunStarted, ToolCalled, event_to_json
from engine.events.liveness import ProcessMark, is_gone, this_process
from engine.events.schema import MIGRATIONS, connect


def started(run_id="r", **settings):
    return RunStarted(run_id=run_id, bundles=("docstring",), targets=("src",), settings=settings)


def finished(run_id="r", status="finished"):
    return RunFinished(run_id=run_id, status=status, finished=1, failed=0, stopped=0, changes=2, seconds=1.5)


def note(number, run_id="r"):
    return ErrorOccurred(run_id=run_id, task_id="t", error_type="Note", message=str(number))


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".engine" / "events.db"


def child(code, *args):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], stdout=subprocess.PIPE, text=True)


def intact(path):
    with LogReader(path) as reader:
        for run in reader.runs():
            numbers = [event["seq"] for event in reader.events(run.run_id)]
            assert numbers == list(range(1, len(numbers) + 1))
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()


def test_what_was_appended_is_read_in_order_with_gapless_numbers(path):
    with EventLog(path) as log:
        rows = [log.append(event) for event in (started(seed=7), note(1), finished())]
        log.flush()
        stored = log.events("r")
        assert [row.as_dict() for row in rows] == stored
        assert stored == [
            json.loads(json.dumps(event_to_json(event, number, row.time)))
            for number, (event, row) in enumerate(zip((started(seed=7), note(1), finished()), rows, strict=True), 1)
        ]
        assert log.events("r", after=1, limit=1) == stored[1:2]
        assert log.events("other") == []
        assert abs(rows[0].time - time.time()) < 60
    intact(path)


async def test_the_log_is_an_observer(path):
    with EventLog(path) as log:
        bus = Bus(log)
        for number in range(3):
            await bus.emit(note(number))
        log.flush()
        assert [event["message"] for event in log.events("r")] == ["0", "1", "2"]


def test_a_run_is_running_then_what_its_end_said(path):
    with EventLog(path) as log:
        log.append(started(seed=7))
        log.flush()
        (run,) = log.runs()
        assert (run.status, run.ended) == ("running", None)
        end = log.append(finished(status="failed"))
        log.flush()
        run = log.run("r")
        assert (run.status, run.ended) == ("failed", end.time)
        assert run.summary["settings"] == {"seed": 7}
        assert run.summary["changes"] == 2
        assert run.as_dict()["run_id"] == "r"


def test_runs_are_newest_first_and_found_by_a_unique_beginning(path):
    with LogReader(path) as reader:
        assert reader.runs() == []
        assert reader.newest_run() is None
        with pytest.raises(ConfigError, match="no run yet"):
            reader.resolve(None)
        with EventLog(path) as log:
            for run_id in ("20-aa", "20-ab", "21-aa"):
                log.append(started(run_id))
        assert [run.run_id for run in reader.runs()] == ["21-aa", "20-ab", "20-aa"]
        assert [run.run_id for run in reader.runs(limit=1)] == ["21-aa"]
        assert reader.newest_run().run_id == reader.resolve(None) == reader.resolve("21") == "21-aa"
        assert reader.resolve("20-ab") == "20-ab"
        with pytest.raises(ConfigError, match="several runs: 20-ab, 20-aa"):
            reader.resolve("20")
        with pytest.raises(ConfigError, match="no run '3'"):
            reader.resolve("3")


def test_events_of_a_run_that_never_announced_itself_are_kept(path):
    with EventLog(path) as log:
        log.append(note(1, run_id=""))
        log.append(note(2, run_id="\udcff"))
    with LogReader(path) as reader:
        assert [run.run_id for run in reader.runs()] == ["\\udcff", ""]
        assert reader.events("")[0]["message"] == "1"


def test_a_later_process_goes_on_where_the_first_stopped(path):
    with EventLog(path) as log:
        log.append(started())
        log.append(finished())
    with EventLog(path) as log:
        assert log.append(note("accepted")).seq == 3
        log.flush()
        assert log.run("r").status == "finished"
        log.append(started(resumed=True))
        log.flush()
        run = log.run("r")
        assert (run.status, run.ended, run.summary["settings"]) == ("running", None, {"resumed": True})
    intact(path)


def test_many_threads_append_without_a_gap(path):
    with EventLog(path) as log, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: log.append(note(number)), range(2000)))
        log.flush()
        assert sorted(int(event["message"]) for event in log.events("r")) == list(range(2000))
    intact(path)


APPEND = """
import sys
from engine.events import EventLog, ErrorOccurred
with EventLog(sys.argv[1]) as log:
    for number in range(300):
        log.append(ErrorOccurred(run_id="r", error_type=sys.argv[2], message=str(number)))
        if number % 50 == 0:
            log.flush()
"""


def test_processes_that_write_to_one_run_share_one_gapless_sequence(path):
    with child(APPEND, path, "a") as one, child(APPEND, path, "b") as two, child(APPEND, path, "c") as three:
        assert [each.wait(60) for each in (one, two, three)] == [0, 0, 0]
    with LogReader(path) as reader:
        events = reader.events("r")
    assert len(events) == 900
    for name in ("a", "b", "c"):
        assert [int(event["message"]) for event in events if event["error_type"] == name] == list(range(300))
    intact(path)


FOREVER = """
import sys
from engine.events import EventLog, RunStarted, ErrorOccurred
log = EventLog(sys.argv[1])
log.append(RunStarted(run_id="r", bundles=(), targets=()))
log.flush()
print("ready", flush=True)
while True:
    log.append(ErrorOccurred(run_id="r", error_type="x" * 200, message="m"))
"""


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.07, 0.19, 0.4])
def test_after_sigkill_the_log_is_whole_and_the_run_interrupted(path, delay):
    process = child(FOREVER, path)
    assert process.stdout.readline() == "ready\n"
    with LogReader(path) as reader:
        assert reader.newest_run().status == "running"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        assert reader.newest_run().status == "interrupted"
    intact(path)
    with EventLog(path) as log:
        before = len(log.events("r"))
        assert log.append(note("after")).seq == before + 1


def test_a_zombie_and_a_recycled_pid_count_as_gone():
    mark = this_process()
    assert not is_gone(mark)
    assert is_gone(mark._replace(born="1"))
    assert not is_gone(mark._replace(place="elsewhere boot pid:[1]"))
    assert not is_gone(mark._replace(born=""))
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert is_gone(ProcessMark(process.pid, mark.born, mark.place))
    process.wait()


def test_an_interpreter_that_exits_without_closing_stores_the_rest(path):
    code = "import sys; from engine.events import *; log = EventLog(sys.argv[1])\n"
    code += "for n in range(5000): log.append(ErrorOccurred(run_id='r', error_type='x', message=str(n)))"
    with child(code, path) as process:
        assert process.wait(60) == 0
    with LogReader(path) as reader:
        assert len(reader.events("r")) == 5000


def test_a_reader_never_blocks_the_writer(path):
    with EventLog(path) as log:
        log.append(started())
        log.flush()
        raw = sqlite3.connect(path)
        raw.execute("BEGIN")
        assert raw.execute("SELECT count(*) FROM events").fetchone() == (1,)
        log.append(note(1))
        log.flush()
        assert raw.execute("SELECT count(*) FROM events").fetchone() == (1,)
        raw.close()
        assert len(log.events("r")) == 2


def test_a_foreign_lock_delays_and_loses_nothing(path):
    with EventLog(path) as log:
        log.append(started())
        log.flush()
        raw = sqlite3.connect(path, check_same_thread=False)
        raw.execute("BEGIN IMMEDIATE")
        for number in range(10):
            log.append(note(number))
        timer = threading.Timer(0.3, raw.rollback)
        timer.start()
        log.flush()
        timer.join()
        raw.close()
        assert len(log.events("r")) == 11


FULL = """
import resource, signal, sys
from engine.errors import ConfigError
from engine.events import EventLog, ErrorOccurred
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = EventLog(sys.argv[1])
log.append(ErrorOccurred(run_id="r", error_type="x", message="first"))
log.flush()
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
for number in range(500):
    log.append(ErrorOccurred(run_id="r", error_type="x" * 1000, message=str(number)))
try:
    log.flush()
except ConfigError as error:
    print(error)
if sys.argv[2] == "freed":
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
try:
    log.close()
    print("stored")
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize("later", ["freed", "full"])
def test_a_full_disk_is_one_clear_error_and_space_freed_in_time_saves_the_events(path, later):
    process = child(FULL, path, later)
    first, last = process.stdout.read().splitlines()
    process.stdout.close()
    assert process.wait(60) == 0
    assert "events.db cannot be written" in first
    assert "500 events are not stored yet" in first
    assert last == "stored" if later == "freed" else "500 events are lost" in last
    with LogReader(path) as reader:
        assert len(reader.events("r")) == (501 if later == "freed" else 1)
    intact(path)


def test_a_closed_log_refuses_events(path):
    log = EventLog(path)
    log.append(note(1))
    log.close()
    log.close()
    log.flush()
    with pytest.raises(ConfigError, match="is closed"):
        log.append(note(2))
    assert len(log.events("r")) == 1
    LogReader.close(log)


def test_a_log_that_was_never_written_to_closes(path):
    EventLog(path).close()
    intact(path)


@pytest.mark.parametrize("content", [b"this is no database, not at all" * 100, b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_damaged_file_is_a_clear_error(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for open_log in (EventLog, lambda path: LogReader(path).runs()):
        with pytest.raises(ConfigError, match=r"events\.db cannot be used: .* move it away"):
            open_log(path)


def test_a_file_damaged_while_it_is_read_is_a_clear_error(path):
    with EventLog(path) as log:
        for number in range(500):
            log.append(note(number))
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    with LogReader(path) as reader, pytest.raises(ConfigError, match=r"cannot be read: .* move it away"):
        reader.events("r")


async def test_events_that_a_damaged_file_refuses_are_told_at_the_end(path, caplog):
    with EventLog(path) as log:
        log.append(started())
        log.flush()
    log = EventLog(path)
    raw = sqlite3.connect(path)
    raw.execute("DROP TABLE events")
    raw.commit()
    raw.close()
    await Bus(log).emit(note(1))
    assert "an observer failed" in caplog.text
    with pytest.raises(ConfigError, match=r"1 events were not taken: .* no such table"):
        log.close()


def test_a_file_of_a_newer_engine_is_refused(path):
    EventLog(path).close()
    raw = sqlite3.connect(path)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    with pytest.raises(ConfigError, match="version 99, this engine knows up to 3"):
        EventLog(path)


def test_migrations_run_once_each_or_not_at_all(path):
    with EventLog(path) as log:
        log.append(note(1))
    better = (*MIGRATIONS, ("ALTER TABLE runs ADD COLUMN note TEXT", "CREATE TABLE extra (x)"))
    broken = (*MIGRATIONS, ("CREATE TABLE extra (x)", "CREATE TABLE extra (y)"))
    with pytest.raises(ConfigError, match="extra already exists"):
        connect(path, broken)
    for _ in range(2):
        connection = connect(path, better)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(better),)
        assert connection.execute("SELECT run_id, note FROM runs").fetchall() == [("r", None)]
        assert connection.execute("SELECT * FROM extra").fetchall() == []
        connection.close()


def test_the_state_folder_hides_itself_and_others_are_left_alone(path, tmp_path):
    EventLog(path).close()
    assert (path.parent / ".gitignore").read_text() == "*\n"
    EventLog(tmp_path / "elsewhere" / "log.db").close()
    assert not (tmp_path / "elsewhere" / ".gitignore").exists()


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        EventLog(tmp_path / "file" / "events.db")


def test_nothing_is_truncated(path):
    big = "x" * 3_000_000
    with EventLog(path) as log:
        log.append(ToolCalled(run_id="r", turn=1, call_id="c", tool="f", arguments={"text": big, "raw": b"\xff"}))
        log.flush()
        assert log.events("r")[0]["arguments"] == {"text": big, "raw": {"base64": "/w=="}}


def test_limits_of_this_process_are_untouched():
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY

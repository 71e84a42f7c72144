"""Faults of the event log: locks, damage, a full disk, a file that is deleted; what the user reads, what is kept."""

from __future__ import annotations

import asyncio
import random
import sqlite3

import pytest
from event_parts import on_small_disk
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import engine

from engine.errors import LogError
from engine.events import Bus, ErrorOccurred, EventLog, LogReader, RunStarted


@pytest.fixture
def path(tmp_path):
    (tmp_path / "engine.yaml").write_text("")
    return tmp_path / ".engine" / "events.db"


def note(text):
    return ErrorOccurred(run_id="r", error_type="x", message=text)


def filled(path, count=2000):
    with EventLog(path) as log:
        log.append(RunStarted(run_id="r", bundles=(), targets=()))
        for number in range(count):
            log.append(note(f"{number} " + "x" * 100))


@pytest.fixture
def locked(path):
    EventLog(path).close()
    raw = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    raw.execute("BEGIN EXCLUSIVE")
    yield raw
    raw.close()


# -- a log that cannot be written ends what would go on unlogged


async def guarded(log, ended=None):
    """Emit an event, wait for ever, and emit a last one when that is ended."""
    async with log.guarding():
        try:
            await Bus(log).emit(note("first"))
            await asyncio.sleep(3600)
        finally:
            if ended is not None:
                ended.append(True)
                await Bus(log).emit(note("last"))


async def test_a_lock_that_stays_ends_the_run_and_what_waits_is_stored_when_it_goes(path, locked):
    ended = []
    log = EventLog(path, patience=0.1)
    with pytest.raises(LogError, match=r"events\.db cannot be written: database is locked; another process has it"):
        await guarded(log, ended)
    assert ended == [True]
    assert "locked" in str(log.problem)
    assert asyncio.current_task().cancelling() == 0
    locked.execute("ROLLBACK")
    log.close()
    with LogReader(path) as reader:
        assert [event["message"] for event in reader.events("r")] == ["first", "last"]


async def test_what_is_lost_is_told_when_the_lock_stays_to_the_end(path, locked):
    log = EventLog(path, patience=0.05)
    log.append(note("1"))
    log.append(note("2"))
    with pytest.raises(LogError, match="2 events are not stored yet"):
        await asyncio.to_thread(log.flush)
    with pytest.raises(LogError, match="2 events are lost; another process has it locked"):
        log.close()


async def test_a_run_is_not_begun_on_a_log_with_a_problem(path, locked):
    log = EventLog(path, patience=0)
    log.append(note("1"))
    with pytest.raises(LogError):
        await asyncio.to_thread(log.flush)
    with pytest.raises(LogError, match="locked"):
        async with log.guarding():
            pytest.fail("the body ran")
    with pytest.raises(LogError):
        log.close()


async def test_a_log_that_is_well_guards_without_a_trace(path):
    with EventLog(path) as log:
        async with log.guarding():
            log.append(note("1"))
            await asyncio.sleep(0.01)
        with pytest.raises(KeyError):
            async with log.guarding():
                raise KeyError
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), log.guarding():
                await asyncio.sleep(60)
        log.flush()
        assert log.problem is None
        assert len(log.events("r")) == 1


async def test_who_is_cancelled_from_elsewhere_too_stays_cancelled(path, locked):
    log = EventLog(path, patience=0)
    inside = asyncio.Event()

    async def body():
        async with log.guarding():
            inside.set()
            log.append(note("1"))
            try:
                await asyncio.sleep(60)
            finally:
                task.cancel()
                await asyncio.sleep(0)

    task = asyncio.create_task(body())
    await inside.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(LogError):
        log.close()


async def test_a_body_that_ends_as_the_problem_comes_is_told_and_not_cancelled_later(path, locked):
    log = EventLog(path, patience=0)

    async def body():
        async with log.guarding():
            log.append(note("1"))
            while log.problem is None:
                pass  # without giving way, so that the cancellation cannot come in here

    with pytest.raises(LogError, match="locked"):
        await body()
    await asyncio.sleep(0.01)
    with pytest.raises(LogError):
        log.close()


@pytest.mark.parametrize("replace", [False, True])
async def test_a_log_that_is_deleted_under_a_run_ends_it(path, replace):
    log = EventLog(path)
    log.append(note("kept nowhere"))
    log.flush()
    for each in path.parent.glob("events.db*"):
        each.unlink()
    if replace:
        path.write_bytes(b"")
    with pytest.raises(LogError, match="it was deleted or replaced; leave the folder alone while something runs"):
        await guarded(log)
    with pytest.raises(LogError, match="1 events are lost"):
        log.close()


async def test_a_damaged_log_ends_the_run_at_once(path):
    filled(path)
    log = EventLog(path)
    data = path.read_bytes()
    path.write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    with pytest.raises(LogError, match=r"cannot be (written|read): .*malformed.*; if it is damaged, move it away"):
        await guarded(log)
    with pytest.raises(LogError):
        log.close()


# -- damage


def answers(path):
    """Use a file in every way; each must work or end in one clear line."""
    said = []
    for use in (read, append):
        try:
            use(path)
        except LogError as error:
            said.append(str(error))
    assert all("\n" not in line and "events.db" in line for line in said)
    return said


def read(path):
    with LogReader(path) as reader:
        for run in reader.runs():
            reader.events(run.run_id)
            reader.tasks(run.run_id)


def append(path):
    with EventLog(path) as log:
        log.append(note("later"))


@pytest.mark.parametrize("content", [b"", b"S"])
def test_an_empty_file_is_an_empty_log(path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    assert answers(path) == []
    with LogReader(path) as reader:
        assert [event["message"] for event in reader.events("r")] == ["later"]


@pytest.mark.parametrize("keep", [100, 4096, 5000, 20_000, 100_000])
def test_a_file_that_was_cut_off_is_one_clear_line(path, keep):
    filled(path)
    with path.open("r+b") as file:
        file.truncate(keep)
    said = answers(path)
    assert said
    assert all("move it away" in line for line in said)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6))
def test_random_bytes_anywhere_never_break_more_than_the_file(tmp_path_factory, seed):
    path = tmp_path_factory.mktemp("random") / "events.db"
    filled(path, 200)
    dice = random.Random(seed)
    data = bytearray(path.read_bytes())
    for _ in range(dice.randint(1, 20)):
        start = dice.randrange(len(data))
        data[start : start + 50] = dice.randbytes(len(data[start : start + 50]))
    path.write_bytes(data)
    answers(path)


@pytest.mark.parametrize("content", [b"a text file, quite short\n", b"name: value\n" * 1000])
def test_another_kind_of_file_is_one_clear_line_of_the_command_line(path, tmp_path, content):
    path.parent.mkdir()
    path.write_bytes(content)
    for verb in ("runs", "show", "events"):
        ran = engine(verb, cwd=tmp_path)
        assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (2, "", 1)
        assert "file is not a database; if it is damaged, move it away and a new one is made" in ran.stderr
    assert path.read_bytes() == content


def test_rows_that_no_engine_wrote_are_no_traceback(path, tmp_path):
    filled(path, 1)
    raw = sqlite3.connect(path)
    raw.execute("UPDATE events SET data = x'ff00' WHERE seq = 1")
    raw.execute("UPDATE events SET data = '[1, 2' WHERE seq = 2")
    raw.execute("UPDATE runs SET summary = '[]', pid = 'x/../y', born = 5, place = NULL WHERE 0")
    raw.execute("UPDATE runs SET summary = 'null', pid = 'x/../y', born = 5, place = x'00'")
    raw.commit()
    raw.close()
    for verb in ("runs", "events"):
        ran = engine(verb, cwd=tmp_path)
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr


# -- a full disk

FILL = """
import asyncio, sys
from pathlib import Path
from engine.errors import LogError
from engine.events import *

async def main():
    path = Path(sys.argv[1]) / "events.db"
    log = EventLog(path, patience=0.3)
    number = 0
    try:
        async with log.guarding():
            while True:
                number += 1
                log.append(ErrorOccurred(run_id="r", error_type="x" * 1000, message=str(number)))
                await asyncio.sleep(0.0005)
    except LogError as error:
        print(error)
    if sys.argv[2] == "freed":
        (Path(sys.argv[1]) / "ballast").unlink()
    try:
        log.close()
        print("closed")
    except LogError as error:
        print(error)
    with LogReader(path) as reader:
        numbers = [event["seq"] for event in reader.events("r")]
    print(len(numbers) == number, numbers == list(range(1, len(numbers) + 1)), len(numbers) > 0)

(Path(sys.argv[1]) / "ballast").write_bytes(b"x" * 2_000_000)
asyncio.run(main())
"""


@pytest.mark.parametrize("later", ["freed", "full"])
def test_a_full_disk_ends_the_run_and_keeps_what_was_stored(tmp_path, later):
    folder = tmp_path / "small"
    folder.mkdir()
    ran = on_small_disk(folder, "4m", FILL, folder, later)
    assert ran.returncode == 0, ran.stderr
    first, second, third = ran.stdout.splitlines()
    assert "events.db cannot be written: database or disk is full; free some space on its disk" in first
    if later == "freed":
        assert (second, third) == ("closed", "True True True")
    else:
        assert "events are lost; free some space on its disk" in second
        assert third == "False True True"

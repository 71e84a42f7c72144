"""Reading an event log where nothing can be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from test_events_store import VERSION_1, note, started

from engine.errors import ConfigError, LogError
from engine.events import EventLog, RunFinished


def as_nobody(folder, code):
    """Run code in a process that may write nothing below a folder; it has the folder as `root`."""
    root = os.geteuid() == 0
    before = "import os; from engine.events import *; from engine.errors import *; import engine.events.schema\n"
    before += "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" * root
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    folder.chmod(0o555)
    try:
        code = f"{before}\nfrom pathlib import Path\nroot = Path({str(folder)!r})\n{code}"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    finally:
        folder.chmod(0o755)


READ = """
try:
    with LogReader(root / "events.db") as reader:
        print(len(reader.events(reader.resolve(None))), [event["seq"] for event in reader.follow("r", after=1)])
except LogError as error:
    print(error)
"""


@pytest.fixture
def shared(tmp_path_factory):
    """A folder that every user of the machine can reach."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name) / ".engine"
        folder.mkdir()
        yield folder


def test_a_finished_run_is_read_where_nothing_can_be_written(shared):
    with EventLog(shared / "events.db") as log:
        log.append(started())
        log.append(RunFinished(run_id="r", status="finished", finished=0, failed=0, stopped=0, changes=0, seconds=0))
    (shared / "events.db").chmod(0o444)
    ran = as_nobody(shared, READ)
    assert (ran.stdout, ran.stderr) == ("2 [2]\n", "")
    assert sorted(each.name for each in shared.iterdir()) == [".gitignore", "events.db"]


def test_a_run_of_another_user_is_read_while_it_goes_on(shared):
    with EventLog(shared / "events.db") as log:
        log.append(started())
        log.append(note("x"))
        log.flush()
        ran = as_nobody(shared, READ.replace("follow(", "events("))
    assert (ran.stdout, ran.stderr) == ("2 [2]\n", "")


def test_what_cannot_be_read_without_writing_is_one_clear_line(shared):
    with EventLog(shared / "events.db") as log:
        log.append(started())
        log.flush()
        shutil.copy(shared / "events.db-wal", shared / "kept")
    shutil.move(shared / "kept", shared / "events.db-wal")
    ran = as_nobody(shared, READ)
    assert ran.stdout.count("\n") == 1, ran.stderr
    assert "cannot be read where nothing can be written; copy its folder" in ran.stdout
    (shared / "events.db-wal").unlink()
    shutil.copy(VERSION_1, shared / "events.db")
    ran = as_nobody(shared, READ)
    assert "cannot be read where nothing can be written; copy its folder" in ran.stdout


def test_a_folder_that_may_not_be_entered_is_one_clear_line(shared):
    inner = shared / "inner"
    EventLog(inner / "events.db").close()
    inner.chmod(0)
    ran = as_nobody(shared, READ.replace('"events.db"', '"inner/events.db"'))
    inner.chmod(0o755)
    assert (ran.stdout, ran.stderr) == (f"the event log {inner}/events.db cannot be opened: Permission denied\n", "")


def test_log_errors_are_configuration_errors():
    assert issubclass(LogError, ConfigError)

"""Forgetting old runs: which go, which stay, and that their space comes back."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from event_parts import IDENTITY, writing_process
from test_cli import engine, run_bundle

from engine.errors import LogError
from engine.events import ErrorOccurred, EventLog, LogReader, RunFinished, RunStarted, TaskFinished, TaskRow, ToolCalled
from engine.events.forget import forget_runs, is_running
from engine.events.schema import MIGRATIONS
from engine.run.housekeeping import Housekeeper, Keep, tidying
from engine.workspace import Change, ChangeStore

DAY = 86_400


@pytest.fixture
def root(tmp_path):
    (tmp_path / "engine.yaml").write_text("")
    (tmp_path / ".engine").mkdir()
    return tmp_path


@pytest.fixture
def path(root):
    return root / ".engine" / "events.db"


def add_run(path, run_id, *, days=0.0, events=3, left=False, ends=True):
    """Store a run with one task, as if it had started some days ago."""
    with EventLog(path, clock=lambda: time.time() - days * DAY) as log:
        log.append(RunStarted(run_id=run_id, bundles=("b",), targets=("src",), request={"bundles": ["b"]}))
        log.plan([TaskRow(run_id, "t", 0, "b", "", "n", "f", "function", "a.py", 1)])
        call = {"call_id": "1", "tool": "x", "arguments": {}}
        log.append(ToolCalled(run_id=run_id, task_id="t", turn=1, **call))
        for number in range(events):
            log.append(ErrorOccurred(run_id=run_id, task_id="t", error_type="x", message=f"{number} " + "x" * 500))
        outcome = {"outcome": "stopped", "reason": "cancelled"} if left else {"outcome": "finished", "reason": ""}
        log.append(TaskFinished(run_id=run_id, task_id="t", node="f", **IDENTITY, **outcome))
        if ends:
            status = "interrupted" if left else "finished"
            counts = {"finished": 1, "failed": 0, "stopped": 0, "changes": 0}
            log.append(RunFinished(run_id=run_id, status=status, seconds=1.0, **counts))


def offer(root, run_id, after=b"after", decide=None):
    store = ChangeStore(root)
    store.offer(run_id, "t", "a.py::f", [Change(f"{run_id}.py", None, after, None)])
    if decide:
        store.settle(store.list(run_id)[0], decide)
    store.close()


def names(path):
    with LogReader(path) as reader:
        return [run.run_id for run in reader.runs()]


def rows(path):
    """Return the runs that each table has rows of."""
    with sqlite3.connect(path) as raw:
        found = [
            {row[0] for row in raw.execute(f"SELECT DISTINCT run_id FROM {table}")}
            for table in ("runs", "events", "tasks", "used")
        ]
    raw.close()
    return found


def tidy(root, path, keep, **options):
    keeper = Housekeeper(root, path)
    return keeper.tidy(keeper.due(keep), **options)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        (Keep(2), ["d", "c"]),
        (Keep(0), []),
        (Keep(9), ["d", "c", "b", "a"]),
        (Keep(days=10), ["d", "c"]),
        (Keep(1, 10), ["d"]),
        (Keep(3, 10), ["d", "c"]),
        (Keep(), ["d", "c", "b", "a"]),
    ],
)
def test_what_is_older_or_beyond_the_newest_goes(root, path, keep, left):
    for run_id, days in (("a", 40), ("b", 20), ("c", 5), ("d", 0)):
        add_run(path, run_id, days=days)
    tidied = tidy(root, path, keep)
    gone = [run_id for run_id in "dcba" if run_id not in left]
    assert names(path) == left
    assert rows(path) == [set(left)] * 4
    assert (tidied.runs, tidied.kept, tidied.events, tidied.tasks) == (tuple(gone), (), 7 * len(gone), len(gone))


def test_nothing_is_forgotten_that_somebody_may_still_want(root, path):
    add_run(path, "waits")
    offer(root, "waits")
    add_run(path, "collides")
    offer(root, "collides", decide="conflict")
    add_run(path, "stopped", left=True)
    add_run(path, "decided")
    offer(root, "decided", decide="rejected")
    tidied = tidy(root, path, Keep(0))
    assert tidied.runs == ("decided",)
    assert dict(tidied.kept) == {
        "waits": "its changes wait for a decision",
        "collides": "its changes wait for a decision",
        "stopped": "it can be resumed",
    }
    assert tidied.changes == 1
    assert tidy(root, path, Keep(0), unfinished=True).runs == ("stopped",)
    assert names(path) == ["collides", "waits"]
    store = ChangeStore(root)
    assert [len(store.list(run_id)) for run_id in ("waits", "collides", "decided")] == [1, 1, 0]
    store.close()


def test_a_run_that_goes_on_stays_whatever_is_said(root, path):
    with writing_process(path) as writer:
        writer.do('log.append(RunStarted(run_id="r", bundles=(), targets=()))')
        assert is_running(path, "r")
        for options in ({}, {"unfinished": True}):
            tidied = tidy(root, path, Keep(0), **options)
            assert (tidied.runs, tidied.kept) == ((), (("r", "it is running"),))
        assert forget_runs(path, ["r"]).runs == ()
        writer.kill()
    assert tidy(root, path, Keep(0)).runs == ("r",)


def test_a_run_of_a_machine_that_cannot_be_seen_goes_only_when_that_is_said(root, path):
    add_run(path, "r", ends=False)
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE runs SET place = 'elsewhere'")
    raw.close()
    assert tidy(root, path, Keep(0)).kept == (("r", "it is running"),)
    assert tidy(root, path, Keep(0), unfinished=True).runs == ("r",)


def test_the_space_comes_back(root, path):
    for number in range(4):
        add_run(path, f"r{number}", events=5000)
        offer(root, f"r{number}", after=b"%d" % number * 1_000_000, decide="accepted")
    changes = root / ".engine/changes.db"
    before = path.stat().st_size, changes.stat().st_size
    tidied = tidy(root, path, Keep(1))
    after = path.stat().st_size, changes.stat().st_size
    assert after[0] < before[0] / 3
    assert after[1] < before[1] / 3
    assert tidied.bytes == pytest.approx(sum(before) - sum(after), abs=2**20)
    assert not path.with_name("events.db-wal").exists()
    with sqlite3.connect(path) as raw:
        assert raw.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    raw.close()


def test_a_file_that_cannot_shrink_in_steps_is_written_anew_once(root, path):
    with sqlite3.connect(path) as raw:  # as earlier engines made it
        for statement in MIGRATIONS[0]:
            raw.execute(statement)
        raw.execute("PRAGMA user_version = 1")
    raw.close()
    add_run(path, "old", events=20_000)
    add_run(path, "new")
    assert path.stat().st_size > 10_000_000
    assert tidy(root, path, Keep(1)).runs == ("old",)
    assert path.stat().st_size < 200_000
    raw = sqlite3.connect(path)
    assert raw.execute("PRAGMA auto_vacuum").fetchone() == (2,)
    raw.close()


def test_a_run_writes_on_while_others_are_forgotten(root, path):
    for number in range(3):
        add_run(path, f"r{number}", events=20_000)
    code = """if True:
        import sys
        from engine.events import *
        with EventLog(sys.argv[1]) as log:
            log.append(RunStarted(run_id="now", bundles=(), targets=()))
            log.flush()
            print("ready", flush=True)
            for number in range(20_000):
                log.append(ErrorOccurred(run_id="now", error_type="x", message=str(number)))
            log.flush()
            print(log.problem)
    """
    with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert len(tidy(root, path, Keep(1), busy=True).runs) == 3
        assert process.stdout.readline() == "None\n"
    with LogReader(path) as reader:
        assert [event["seq"] for event in reader.events("now")] == list(range(1, 20_002))
    assert rows(path)[:2] == [{"now"}, {"now"}]


def test_what_is_broken_off_is_finished_the_next_time(root, path):
    add_run(path, "a", events=9000)
    add_run(path, "b", events=10)
    asked = iter([False, False, True])
    told = forget_runs(path, ["a"], stop=lambda: next(asked, True))
    assert (told.runs, told.events) == (("a",), 2000)
    assert (names(path), rows(path)[1]) == (["b"], {"a", "b"})
    told = forget_runs(path, [])
    assert (told.runs, told.events, told.tasks) == ((), 7004, 1)
    assert rows(path) == [{"b"}] * 4


def test_a_damaged_file_is_one_clear_error(root, path):
    add_run(path, "a", events=500)
    data = path.read_bytes()
    path.write_bytes(data[:8192] + b"\xff" * (len(data) - 8192))
    with pytest.raises(LogError, match="move it away"):
        forget_runs(path, ["a"])


# -- beside a run


async def test_beside_a_run_it_ends_with_it_and_never_disturbs_it(root, path):
    for number in range(5):
        add_run(path, f"r{number}")
    async with tidying(root, path, Keep(2)):
        pass
    assert names(path) == ["r4", "r3"]
    with pytest.raises(KeyError):
        async with tidying(root, path, Keep(0)):
            raise KeyError
    async with tidying(root, path, None):
        pass
    path.write_bytes(b"no database" * 1000)
    async with tidying(root, path, Keep(2)):
        pass


def test_a_run_that_starts_forgets_what_engine_yaml_does_not_keep(bundle, project, server):
    with (project / "engine.yaml").open("a") as file:
        file.write("\nlog: {keep_runs: 2}\n")
    for _ in range(4):
        assert run_bundle(bundle, project, server, "--limit", "1", "--apply", "--no-cache").returncode == 0
    kept = json.loads(engine("runs", "--json", cwd=project).stdout)
    assert len(kept) == 3  # the two before it, and itself


# -- the verb


def test_the_verb_says_what_it_does_and_would_do(root, path):
    for run_id in ("a", "b", "c"):
        add_run(path, run_id)
    add_run(path, "d", left=True)
    would = engine("runs", "prune", "--keep", "0", "--dry-run", cwd=root)
    assert would.returncode == 0
    assert would.stdout.splitlines() == [
        "would forget c",
        "would forget b",
        "would forget a",
        "3 runs would be forgotten",
    ]
    assert would.stderr == "kept: d: it can be resumed\n"
    assert names(path) == ["d", "c", "b", "a"]
    ran = engine("runs", "prune", "--keep", "2", cwd=root)
    assert ran.stdout.splitlines()[:2] == ["forgot b", "forgot a"]
    assert ran.stdout.splitlines()[2].startswith("2 runs forgotten: 14 events, 2 tasks, 0 changes; 0.")
    said = json.loads(engine("runs", "prune", "--older-than", "0", "--json", cwd=root).stdout)
    assert (said["runs"], said["kept"]) == (["c"], [{"run_id": "d", "reason": "it can be resumed"}])
    assert engine("runs", "prune", "d", cwd=root).stdout.startswith("forgot d\n1 run forgotten: ")
    assert engine("runs", "prune", "--keep", "0", "--all", cwd=root).stdout == "0 runs forgotten\n"


def test_a_named_run_that_is_kept_is_exit_code_1(root, path):
    add_run(path, "20-a")
    offer(root, "20-a")
    ran = engine("runs", "prune", "20", cwd=root)
    assert (ran.returncode, ran.stdout) == (1, "0 runs forgotten\n")
    assert ran.stderr == "kept: 20-a: its changes wait for a decision\n"
    assert engine("runs", "prune", "nosuch", cwd=root).returncode == 2


def test_by_default_it_is_as_engine_yaml_says(root, path):
    (root / "engine.yaml").write_text("log: {keep_runs: 9, keep_days: 30}\n")
    add_run(path, "old", days=40)
    add_run(path, "new")
    assert engine("runs", "prune", cwd=root).stdout.startswith("forgot old\n")
    assert names(path) == ["new"]


def test_the_bare_verb_lists_as_before(root, path):
    add_run(path, "a")
    assert engine("runs", cwd=root).stdout.endswith("  finished  1 finished, 0 failed, 0 stopped, 0 changes\n")
    listed = engine("runs", "--project", root, "--json", "--limit", "1", cwd=root.parent)
    assert [run["run_id"] for run in json.loads(listed.stdout)] == ["a"]
    pruned = engine("runs", "--project", root, "prune", "--keep", "0", cwd=root.parent)
    assert pruned.stdout.startswith("forgot a\n")
    assert engine("runs", "prune", cwd=root).stdout == "0 runs forgotten\n"


def test_nothing_is_made_where_nothing_ran(root):
    shutil.rmtree(root / ".engine")
    assert engine("runs", "prune", cwd=root).returncode == 0
    assert not Path(root / ".engine").exists()

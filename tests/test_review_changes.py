"""Decisions: checks that did not pass, conditions, taking back, merging into edited files, and the log of all that."""

from __future__ import annotations

import contextlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from event_parts import on_small_disk
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.events import EventLog, LogReader, RunFinished, RunStarted
from engine.run.review import Review, Where
from engine.run.review.where import NAMES, variables
from engine.workspace import Change, ChangeHead, ChangeStore, Decision, Selection, accept, merge, undo
from engine.workspace.schema import _VERSIONS

OK = {"file": "f", "check": "parses", "passed": True, "detail": ""}
BAD = {"file": "f", "check": "ruff check {file}", "passed": False, "detail": "it is bad"}
ALL = Selection()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


@pytest.fixture
def store(root: Path) -> ChangeStore:
    return ChangeStore(root)


def offer(store: ChangeStore, task: str, *changes: Change, run: str = "r1", checks=(OK,), **facts) -> None:
    store.offer(run, task, f"{changes[0].path}::{task}", changes, checks=checks, facts=facts)


def states(store: ChangeStore, run: str = "r1") -> dict[str, str]:
    return {row.task_id: row.state for row in store.heads(run)}


def told(decisions: list[Decision]) -> dict[str, str]:
    return {one.task_id: one.state for one in decisions}


# What is stored


def test_a_file_of_the_first_version_is_brought_up_to_date(root: Path) -> None:
    (root / ".engine").mkdir()
    old = sqlite3.connect(root / ".engine" / "changes.db")
    old.executescript(_VERSIONS[0])
    old.executescript("""
        PRAGMA user_version=1;
        INSERT INTO blobs VALUES ('h1', x'610a'), ('h2', x'620a');
        INSERT INTO changes (id, run_id, task_id, node, path, before, after, mode, state, offered_at, in_file)
            VALUES (7, 'r1', 'note-1', 'f::x', 'f', 'h1', 'h2', 420, 'pending', 5.0, 0),
                   (9, 'r1', 'note-2', 'g::x', 'g', NULL, 'h2', NULL, 'accepted', 6.0, 1);
    """)
    old.close()
    store = ChangeStore(root)
    first, second = store.list("r1")
    assert (first.id, first.change, first.state, first.passed, first.checks) == (
        7, Change("f", b"a\n", b"b\n", 420), "pending", True, ()
    )  # fmt: skip
    assert (first.added, first.removed, first.edited, first.prior) == (1, 1, False, None)
    assert [(head.id, head.kind, head.added) for head in store.heads("r1")] == [(7, "edit", 1), (9, "create", 1)]
    assert variables(first)["bundle"] == "note"
    (root / "f").write_bytes(b"a\n")
    (root / "g").write_bytes(b"b\n")
    assert told(accept(store, root, "r1")) == {"note-1": "accepted"}
    assert told(undo(store, root, "r1", ALL)) == {"note-1": "undone", "note-2": "undone"}
    assert ((root / "f").read_bytes(), (root / "g").exists()) == (b"a\n", False)
    assert second.state == "accepted"
    with sqlite3.connect(root / ".engine" / "changes.db") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(_VERSIONS),)
    db.close()


def test_offering_again_leaves_accepted_changes_alone(root: Path, store: ChangeStore) -> None:
    (root / "f").write_bytes(b"1\n")
    offer(store, "t", Change("f", b"1\n", b"2\n"), Change("new", None, b"n"))
    accept(store, root, "r1", selection=Selection(numbers=[store.heads("r1")[0].id]))
    offer(store, "t", Change("f", b"2\n", b"3\n"))
    assert [(row.path, row.state, row.change.after) for row in store.list("r1")] == [
        ("f", "accepted", b"2\n"), ("f", "pending", b"3\n")
    ]  # fmt: skip
    assert told(accept(store, root, "r1")) == {"t": "accepted"}
    assert (root / "f").read_bytes() == b"3\n"
    assert [one.state for one in undo(store, root, "r1", ALL)] == ["undone", "undone"]
    assert (root / "f").read_bytes() == b"1\n"


def test_pruning_keeps_what_an_undo_needs(root: Path, store: ChangeStore) -> None:
    (root / "f").write_bytes(b"1\n2\n3\n")
    offer(store, "a", Change("f", b"1\n2\n3\n", b"one\n2\n3\n"))
    (root / "f").write_bytes(b"1\n2\nthree\n")
    accept(store, root, "r1", selection=Selection(merge=True))
    store.prune(keep_runs=1)
    assert told(undo(store, root, "r1", ALL)) == {"a": "undone"}
    assert (root / "f").read_bytes() == b"1\n2\nthree\n"


# Checks


def test_what_did_not_pass_is_only_taken_when_that_is_asked_for(root: Path, store: ChangeStore) -> None:
    (root / "f").write_bytes(b"1\n")
    offer(store, "bad", Change("f", b"1\n", b"2\n"), Change("g", None, b"x"), checks=[OK, BAD])
    offer(store, "good", Change("h", None, b"h"))
    heads = store.heads("r1")
    assert [(head.passed, head.failed_checks) for head in heads] == [(False, ["ruff check {file}"])] * 2 + [(True, [])]
    assert heads[0].marks == "pending, not passing: ruff check {file}"
    decisions = accept(store, root, "r1")
    assert [one.state for one in decisions] == ["refused", "refused", "accepted"]
    assert "(it is bad)" in decisions[0].reason
    assert "--failing" in decisions[0].reason
    assert told(accept(store, root, "r1", task_ids=["bad"])) == {"bad": "refused"}
    assert (root / "f").read_bytes() == b"1\n"
    assert told(accept(store, root, "r1", selection=Selection(failing=True))) == {"bad": "accepted"}
    assert (root / "f").read_bytes() == b"2\n"


# Conditions


def head(**values) -> ChangeHead:
    plain = {"id": 1, "run_id": "r", "task_id": "note-ab", "node": "a.py::A.f", "path": "a.py", "kind": "edit"}
    return ChangeHead(**{**plain, "added": 3, "removed": 1, **values})


FACTS = {"bundle": "note", "operation": "op", "turns": 2, "cached": True, "outcome": "failed",
    "node": {"id": "ab", "name": "f", "qualified_name": "A.f", "type": "method", "line": 4}}  # fmt: skip


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("checks.passed", False),
        ("not checks.passed and 'parses' not in checks.failed", True),
        ("bundle == 'note' and added < 20 and removed", True),
        ("node.type in ['method', 'function'] and node.name == 'f'", True),
        ("operation == 'op' and turns > 1 and cached and outcome == 'failed'", True),
        ("file.endswith('.py') and task.startswith('note') and kind == 'edit'", True),
        ("state == 'pending' and not edited", True),
        ("checks.failed | length == 1 and checks.names | length == 2", True),
        ("added > 3", False),
    ],
)
def test_conditions(source, holds) -> None:
    assert Where(source)(head(checks=(OK, BAD), passed=False, facts=FACTS)) is holds


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("check.passed", "did you mean 'checks'"),
        ("checks.pased", "passed"),
        ("bundel == 'x'", "bundle"),
        ("zzz", "the names are checks, node, bundle"),
        ("added <", "--where"),
        ("added | nofilter", "nofilter"),
        ("added + 'x'", "on note-ab"),
        ("file.__class__.__mro__", "--where"),
        ("range(10 ** 9) | list", "--where"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_in_one_line(source, words) -> None:
    with pytest.raises(ConfigError) as caught:
        Where(source)(head())
    assert words.lower() in str(caught.value).lower()
    assert "\n" not in str(caught.value)


@given(st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_condition_or_one_clear_line(source: str) -> None:
    with contextlib.suppress(ConfigError):
        assert Where(source)(head(facts=FACTS)) in (True, False)


@given(st.integers(0, 99), st.integers(0, 99), st.booleans(), st.sampled_from(["a", "b"]))
@settings(max_examples=60, deadline=None)
def test_a_condition_selects_what_python_would(added, bound, passed, bundle) -> None:
    one = head(added=added, passed=passed, facts={"bundle": bundle})
    assert Where(f"checks.passed and added < {bound} or bundle == 'b'")(one) == (
        (passed and added < bound) or bundle == "b"
    )
    assert Where("not (checks.passed)")(one) is not passed
    assert set(variables(one)) == set(NAMES)


# Files that were edited meanwhile


def test_merging_into_an_edited_file(root: Path, store: ChangeStore) -> None:
    base = b"".join(b"%d\n" % number for number in range(12))
    (root / "f").write_bytes(base.replace(b"9\n", b"nine\n"))
    offer(store, "near", Change("f", base, base.replace(b"2\n", b"two\n")))
    offer(store, "rival", Change("f", base, base.replace(b"9\n", b"neun\n")))
    decisions = accept(store, root, "r1")
    assert told(decisions) == {"near": "refused", "rival": "refused"}
    assert "(line 10)" in decisions[0].reason
    assert "accept --merge" in decisions[0].reason
    assert "accept --merge" not in decisions[1].reason
    decisions = accept(store, root, "r1", selection=Selection(merge=True))
    assert told(decisions) == {"near": "accepted", "rival": "refused"}
    assert "line 10 changed on both sides" in decisions[1].reason
    assert (root / "f").read_bytes() == base.replace(b"9\n", b"nine\n").replace(b"2\n", b"two\n")
    assert b"<<<" not in (root / "f").read_bytes()
    assert states(store)["rival"] == "pending"
    assert told(undo(store, root, "r1", ALL)) == {"near": "undone"}
    assert (root / "f").read_bytes() == base.replace(b"9\n", b"nine\n")


def test_a_merge_that_does_not_parse_is_not_written(root: Path, store: ChangeStore) -> None:
    base = b"x = 1\ny = 2\nz = 3\n"
    (root / "f.py").write_bytes(base.replace(b"z = 3\n", b"z = (3\n"))
    offer(store, "t", Change("f.py", base, base.replace(b"x = 1\n", b"x = 1)\n")))
    review = Review(root, store, "r1")
    (decision,) = review.accept(merge=True)
    assert decision.state == "refused"
    assert "does not parse" in decision.reason
    assert (root / "f.py").read_bytes() == base.replace(b"z = 3\n", b"z = (3\n")


# Taking back


def test_the_life_of_an_undo(root: Path, store: ChangeStore) -> None:
    (root / "e").write_bytes(b"1\n")
    (root / "e").chmod(0o640)
    (root / "d").write_bytes(b"gone\n")
    offer(
        store,
        "t",
        Change("e", b"1\n", b"2\n", 0o640),
        Change("sub/c", None, b"c\n"),
        Change("d", b"gone\n", None, 0o755),
    )
    assert undo(store, root, "r1", ALL) == []
    accept(store, root, "r1")
    assert [one.state for one in undo(store, root, "r1", ALL)] == ["undone"] * 3
    assert (root / "e").read_bytes() == b"1\n"
    assert (root / "e").stat().st_mode & 0o777 == 0o640
    assert (root / "d").read_bytes() == b"gone\n"
    assert (root / "d").stat().st_mode & 0o777 == 0o755
    assert not (root / "sub" / "c").exists()
    assert {row.state for row in store.heads("r1")} == {"pending"}
    assert undo(store, root, "r1", ALL) == []
    assert {one.state for one in accept(store, root, "r1")} == {"accepted"}
    assert (root / "e").read_bytes() == b"2\n"
    assert undo(store, root, "r1", Selection(task_ids=["other"])) == []


def test_an_undo_keeps_what_was_edited_beside_it(root: Path, store: ChangeStore) -> None:
    base = b"".join(b"%d\n" % number for number in range(12))
    (root / "f").write_bytes(base)
    offer(store, "t", Change("f", base, base.replace(b"2\n", b"two\n")))
    accept(store, root, "r1")
    (root / "f").write_bytes(base.replace(b"2\n", b"two\n").replace(b"9\n", b"nine\n"))
    assert told(undo(store, root, "r1", ALL)) == {"t": "undone"}
    assert (root / "f").read_bytes() == base.replace(b"9\n", b"nine\n")


@pytest.mark.parametrize(
    ("change", "now", "words"),
    [
        (Change("f", b"1\n2\n", b"1\ntwo\n"), b"1\nzwei\n", "line 2 changed on both sides"),
        (Change("f", b"1\n2\n", b"1\ntwo\n"), None, "does not exist any more"),
        (Change("f", None, b"1\n"), b"2\n", "was edited"),
        (Change("f", b"1\n2\n", None), b"2\n", "exists again"),
    ],
)
def test_an_undo_that_would_lose_edits_is_refused(change, now, words, root: Path, store: ChangeStore) -> None:
    if change.before is not None:
        (root / "f").write_bytes(change.before)
    offer(store, "t", change)
    assert told(accept(store, root, "r1")) == {"t": "accepted"}
    (root / "f").unlink() if now is None else (root / "f").write_bytes(now)
    (decision,) = undo(store, root, "r1", ALL)
    assert decision.state == "refused"
    assert words in decision.reason
    assert ((root / "f").read_bytes() if now is not None else None) == now
    assert states(store) == {"t": "accepted"}


def test_an_undo_by_hand_is_seen(root: Path, store: ChangeStore) -> None:
    (root / "f").write_bytes(b"1\n")
    offer(store, "t", Change("f", b"1\n", b"2\n"))
    accept(store, root, "r1")
    (root / "f").write_bytes(b"1\n")
    assert told(undo(store, root, "r1", ALL)) == {"t": "undone"}
    assert (root / "f").read_bytes() == b"1\n"


LINES = [b"%d\n" % number for number in range(8)]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_order_accepted_changes_go_out_in(data) -> None:
    """Accept edits of some lines in one order and take some back in another: what is left is what is still accepted."""
    chosen = data.draw(st.lists(st.integers(0, 7), min_size=1, max_size=6, unique=True))
    out = data.draw(st.lists(st.sampled_from(chosen), unique=True))
    person = data.draw(st.sampled_from([None, b"end\n"]))

    def text(lines: set[int], end: bytes | None = None) -> bytes:
        return b"".join(b"new %d\n" % n if n in lines else line for n, line in enumerate(LINES)) + (end or b"")

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = ChangeStore(root)
        (root / "f").write_bytes(text(set()))
        for number in chosen:
            offer(store, f"t{number}", Change("f", text(set()), text({number})))
        assert set(told(accept(store, root, "r1")).values()) == {"accepted"}
        if person and 7 not in chosen:
            (root / "f").write_bytes(text(set(chosen), person))
        else:
            person = None
        left = set(chosen)
        for number in out:
            (decision,) = undo(store, root, "r1", Selection(task_ids=[f"t{number}"]))
            if decision.state == "undone":
                left.discard(number)
            else:
                assert person
            assert (root / "f").read_bytes() == text(left, person)
        assert person or left == set(chosen) - set(out)
        store.close()


UNDO = """
import sys
from pathlib import Path
from engine.workspace import ChangeStore, Selection, accept, undo
root = Path(sys.argv[1])
store = ChangeStore(root)
print("ready", flush=True)
while True:
    undo(store, root, "r1", Selection())
    accept(store, root, "r1")
"""


def test_taking_back_survives_sigkill(root: Path) -> None:
    """Killed over and over while it accepts and takes back: each file is one of its contents, and it goes on."""
    store = ChangeStore(root)
    expected: dict[str, tuple[bytes | None, ...]] = {}
    for number in range(12):
        old, new, name = b"old %d\n" % number * 2000, b"new %d\n" % number * 3000, f"d{number % 3}/f{number}"
        (root / name).parent.mkdir(exist_ok=True)
        kind = number % 4
        before, after = (None if kind == 1 else old), (None if kind == 2 else new)
        if before is not None:
            (root / name).write_bytes(before)
        if kind == 3:
            offer(store, f"t{number}a", Change(name, old, b"top\n" + old))
            offer(store, f"t{number}b", Change(name, old, old + b"end\n"))
            expected[name] = (old, b"top\n" + old, old + b"end\n", b"top\n" + old + b"end\n")
        else:
            offer(store, f"t{number}", Change(name, before, after, 0o644))
            expected[name] = (before, after)
    chance, kills = random.Random(11), 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", UNDO, str(root)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.25))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        kills += process.wait() == -signal.SIGKILL
        for name, contents in expected.items():
            assert ((root / name).read_bytes() if (root / name).exists() else None) in contents
    assert kills == 8
    assert set(told(undo(store, root, "r1", ALL)).values()) <= {"undone"}
    assert {row.state for row in store.heads("r1")} == {"pending"}
    for name, contents in expected.items():
        assert ((root / name).read_bytes() if (root / name).exists() else None) == contents[0]
    assert not list(root.rglob("*.tmp"))
    assert set(told(accept(store, root, "r1")).values()) == {"accepted"}


def test_two_who_take_back_at_once(root: Path, store: ChangeStore) -> None:
    for number in range(20):
        (root / f"f{number}").write_bytes(b"old\n")
        offer(store, f"t{number}", Change(f"f{number}", b"old\n", b"new\n"))
    accept(store, root, "r1")
    done: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: done.append([one.path for one in undo(ChangeStore(root), root, "r1", ALL)]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path for paths in done for path in paths) == sorted(f"f{number}" for number in range(20))
    assert {(root / f"f{number}").read_bytes() for number in range(20)} == {b"old\n"}


# The log


def make_run(root: Path, run: str = "r1") -> Path:
    path = root / ".engine" / "events.db"
    with EventLog(path) as log:
        log.append(RunStarted(run_id=run, bundles=("b",), targets=()))
        log.append(RunFinished(run_id=run, status="finished", finished=1, failed=0, stopped=0, changes=1, seconds=1.0))
    return path


def decisions_of(path: Path, run: str = "r1") -> list[tuple[str, str, str]]:
    with LogReader(path) as reader:
        events = [event for event in reader.events(run) if event["type"] == "change:decided"]
        assert [event["seq"] for event in reader.events(run)] == list(range(1, len(reader.events(run)) + 1))
    return [(event["task_id"], event["file"], event["decision"]) for event in events]


def test_every_decision_is_an_event_of_its_run(root: Path, store: ChangeStore) -> None:
    path = make_run(root)
    review = Review(root, store, "r1", lambda: EventLog(path))
    (root / "f").write_bytes(b"1\n")
    offer(store, "a", Change("f", b"1\n", b"2\n"))
    offer(store, "b", Change("f", b"1\n", b"3\n"))
    offer(store, "c", Change("g", b"x\n", b"y\n"))
    offer(store, "d", Change("h", None, b"h\n"))
    review.accept()
    review.undo(["a"])
    review.reject(["b", "d"])
    assert decisions_of(path) == [
        ("a", "f", "accepted"),
        ("b", "f", "conflict"),
        ("d", "h", "accepted"),
        ("c", "g", "refused"),
        ("a", "f", "undone"),
        ("b", "f", "rejected"),
    ]
    with LogReader(path) as reader:
        record = reader.run("r1")
    assert record is not None
    assert record.status == "finished"


def test_a_decision_that_a_dead_process_did_not_tell_is_told_later(root: Path, store: ChangeStore) -> None:
    path = make_run(root)
    offer(store, "a", Change("f", None, b"2\n"))
    accept(store, root, "r1")  # as by a process that died at once
    assert decisions_of(path) == []
    review = Review(root, store, "r1", lambda: EventLog(path))
    review.undo()
    assert decisions_of(path) == [("a", "f", "accepted"), ("a", "f", "undone")]
    review.tell()
    assert len(decisions_of(path)) == 2


def test_a_run_that_was_pruned_from_the_log_stays_away(root: Path, store: ChangeStore) -> None:
    path = make_run(root, "other")
    offer(store, "a", Change("f", None, b"2\n"))
    assert told(Review(root, store, "r1", lambda: EventLog(path)).accept()) == {"a": "accepted"}
    with LogReader(path) as reader:
        assert [run.run_id for run in reader.runs()] == ["other"]


# Edited by a person


def test_an_edited_change_waits_as_the_persons(root: Path, store: ChangeStore) -> None:
    (root / "f").write_bytes(b"1\n")
    offer(store, "t", Change("f", b"1\n", b"2\n"), checks=[BAD])
    (row,) = store.list("r1")
    assert store.edit(row, b"1\n2\n3\n", {row.id: [OK]})
    (row,) = store.list("r1")
    assert (row.edited, row.passed, row.added, row.removed, row.change.after) == (True, True, 2, 0, b"1\n2\n3\n")
    assert "edited" in row.marks
    assert told(accept(store, root, "r1")) == {"t": "accepted"}
    assert not store.edit(row, b"late\n", {})
    assert (root / "f").read_bytes() == b"1\n2\n3\n" == merge(b"1\n", b"1\n", b"1\n2\n3\n").content


# What the outside may do


ON_A_FULL_DISK = """
import shutil, sys
from pathlib import Path
from engine.errors import ConfigError
from engine.workspace import Change, ChangeStore, Offer, accept

root = Path(sys.argv[1])
store = ChangeStore(root)
texts = [f"def f{n}(): pass\\n" * 2000 for n in range(8)]
for n, text in enumerate(texts):
    (root / f"{n}.py").write_text(text)
store.offer_many(
    Offer("r1", f"t{n}", f"{n}.py::f", [Change(f"{n}.py", text.encode(), ("# " + text).encode(), None)])
    for n, text in enumerate(texts)
)
filler = root / "filler"
filler.write_bytes(bytes(shutil.disk_usage(root).free - 40_000))
try:
    accept(store, root, "r1")
    print("no error")
except ConfigError as error:
    print(error)
filler.unlink()
accept(store, root, "r1")
print(*(row.state for row in store.heads("r1")))
print(all((root / f"{n}.py").read_text() == "# " + text for n, text in enumerate(texts)))
"""


def test_a_full_disk_while_accepting_is_one_clear_error_and_the_next_accept_goes_on(root: Path) -> None:
    done = on_small_disk(root, "2m", ON_A_FULL_DISK, root)
    assert done.returncode == 0, done.stderr
    first, states, whole = done.stdout.splitlines()
    assert re.search(r"changes\.db cannot be used: (database or disk is full|disk I/O error); .*space", first), first
    assert states.split() == ["accepted"] * 8
    assert whole == "True"


@pytest.mark.parametrize(
    ("place", "words"),
    [(".engine", "cannot be made: File exists"), (".engine/changes.db", "changes.db cannot be used: unable to open")],
)
def test_something_else_in_the_place_of_the_store_is_one_clear_error(place: str, words: str, root: Path) -> None:
    (root / place).mkdir(parents=True) if "/" in place else (root / place).write_text("")
    with pytest.raises(ConfigError, match=words):
        ChangeStore(root)


def test_a_page_that_is_damaged_is_one_clear_error(store: ChangeStore, root: Path) -> None:
    for n in range(200):
        offer(store, f"t{n}", Change("a.py", b"a\n", b"b%d\n" % n, None))
    store.close()
    path = root / ".engine" / "changes.db"
    raw = bytearray(path.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match="move it away and a new one is made"):
        ChangeStore(root).heads("r1")

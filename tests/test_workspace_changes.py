"""Changes: diffs that git applies, merges that do not depend on order, and accepting that survives SIGKILL."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ConfigError
from engine.workspace import Change, ChangeStore, accept, reject
from engine.workspace.lines import apply_edits, collision, line_edits, split_lines
from engine.workspace.merge import resolve

LINE = st.sampled_from(["a\n", "b\n", "\n", "c\r\n", "é\n", "d\x0ce\n"])
TEXT = st.builds(
    lambda lines, end: ("".join(lines) + end).encode(), st.lists(LINE, max_size=12), st.sampled_from(["", "x"])
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    return root


def git(root: Path, *argv: str, **more: object) -> None:
    subprocess.run(["git", "-c", "core.autocrlf=false", *argv], cwd=root, check=True, capture_output=True, **more)


@settings(deadline=None)
@given(TEXT, TEXT)
def test_edits_are_the_difference(old: bytes, new: bytes) -> None:
    edits = line_edits(split_lines(old), split_lines(new))
    assert apply_edits(split_lines(old), edits) == new
    assert collision(edits) is None
    assert (edits == []) == (old == new)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.one_of(st.none(), TEXT), st.one_of(st.none(), TEXT)), min_size=1, max_size=6))
def test_git_applies_the_diff(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    names = ["plain.txt", "with space.txt", 'quote".txt', "tab\t.txt", "ünï.txt", "deep/er.txt"]
    pairs = [(old, new) for old, new in pairs if old != new]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "deep").mkdir()
        git(root, "init", "-q")
        patch = ""
        for name, (old, new) in zip(names, pairs, strict=False):
            if old is not None:
                (root / name).write_bytes(old)
            change = Change(name, old, new, 0o644)
            patch += change.diff()
            lines = [line for line in change.diff().split("\n") if not line.startswith(("+++", "---"))]
            assert change.added == sum(line.startswith("+") for line in lines)
            assert change.removed == sum(line.startswith("-") for line in lines)
        if patch:
            git(root, "apply", "--whitespace=nowarn", "-", input=patch.encode())
        for name, (_, new) in zip(names, pairs, strict=False):
            assert ((root / name).read_bytes() if (root / name).exists() else None) == new


def test_diffs_of_binary_and_executable_files() -> None:
    assert (
        Change("x.bin", b"\0", b"\xff").diff()
        == "diff --git a/x.bin b/x.bin\nBinary files a/x.bin and b/x.bin differ\n"
    )
    assert (
        "new file mode 100755\n--- /dev/null\n+++ b/run\n@@ -0,0 +1 @@\n+x\n"
        in Change("run", None, b"x\n", 0o755).diff()
    )
    assert Change("e", b"a", b"a\n").diff().endswith("@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n")


@settings(deadline=None)
@given(st.data())
def test_compatible_changes_merge_in_any_order(data: st.DataObject) -> None:
    """Any set of changes: each is written or collides; when all are written, every order gives the same file."""
    before = data.draw(TEXT.filter(bool))
    afters = data.draw(st.lists(TEXT, min_size=2, max_size=4))
    changes = [Change("f", before, after) for after in afters if after != before]
    results: set[bytes | None] = set()
    plain = collision([edit for change in changes for edit in change.edits]) is None
    for order in (changes, changes[::-1], data.draw(st.permutations(changes))):
        live: bytes | None = before
        in_file: list[Change] = []
        for change in order:
            resolution = resolve(change, live, in_file)
            assert resolution.action in ("write", "done", "collides")
            live = resolution.content if resolution.action == "write" else live
            if resolution.action != "collides":
                in_file = [*([] if resolution.alone else in_file), change]
            plain = plain and resolution.action == "write"
        results.add(live)
    assert not plain or len(results) == 1


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=3, max_size=20), st.data())
def test_separate_lines_never_collide(chosen: list[bool], data: st.DataObject) -> None:
    lines = [f"line {index}\n".encode() for index in range(len(chosen))]
    changes = [
        Change("f", b"".join(lines), b"".join([*lines[:index], b"new %d\n" % index, *lines[index + 1 :]]))
        for index, take in enumerate(chosen)
        if take
    ]
    live: bytes | None = b"".join(lines)
    accepted: list[Change] = []
    for change in data.draw(st.permutations(changes)):
        resolution = resolve(change, live, accepted)
        assert resolution.action == "write"
        live = resolution.content
        accepted.append(change)
    assert live == b"".join(
        b"new %d\n" % i if take else line for i, (take, line) in enumerate(zip(chosen, lines, strict=True))
    )


def test_the_rules_of_collisions() -> None:
    def change(after: bytes) -> Change:
        return Change("f", b"1\n2\n3\n", after)

    live = b"1\nA\n2\n3\n"
    assert resolve(change(b"1\nB\n2\n3\n"), live, [change(live)]).action == "collides"
    assert resolve(change(b"1\nX\n3\n"), live, [change(live)]).content == b"1\nA\nX\n3\n"
    assert resolve(change(live), live, [change(live)]).action == "done"
    assert resolve(change(b"0\n1\n2\n3\n"), b"someone else", [change(live)]).action == "changed"
    assert resolve(Change("f", b"1\n2\n3\n", None), live, [change(live)]).action == "collides"
    assert resolve(change(live), None, [Change("f", b"1\n2\n3\n", None)]).action == "collides"
    assert resolve(Change("f", None, b"x"), b"y", []).action == "changed"
    assert resolve(Change("f", None, b"x"), b"y", [Change("f", None, b"y")]).action == "collides"


def offer(store: ChangeStore, task: str, *changes: Change, run: str = "r1") -> None:
    store.offer(run, task, f"{changes[0].path}::{task}", changes)


def test_the_life_of_a_change(root: Path) -> None:
    store = ChangeStore(root)
    assert (root / ".engine" / ".gitignore").read_text() == "*\n"
    (root / "a.py").write_bytes(b"1\n")
    (root / "old.py").write_bytes(b"old\n")
    (root / "a.py").chmod(0o750)
    offer(
        store,
        "t1",
        Change("a.py", b"1\n", b"2\n", 0o600),
        Change("sub/new.sh", None, b"#!\n", 0o755),
        Change("old.py", b"old\n", None),
    )
    offer(store, "t2", Change("b.py", None, b"b\n"))
    rows = store.list("r1")
    assert [(row.task_id, row.change.path, row.state, row.node) for row in rows] == [
        ("t1", "a.py", "pending", "a.py::t1"), ("t1", "sub/new.sh", "pending", "a.py::t1"),
        ("t1", "old.py", "pending", "a.py::t1"), ("t2", "b.py", "pending", "b.py::t2"),
    ]  # fmt: skip
    assert rows[0].change == Change("a.py", b"1\n", b"2\n", 0o600)
    assert accept(store, root, "r1", task_ids=[]) == []
    assert accept(store, root, "other") == []
    decisions = accept(store, root, "r1", task_ids=["t1"])
    assert [(one.path, one.state) for one in decisions] == [
        ("a.py", "accepted"),
        ("sub/new.sh", "accepted"),
        ("old.py", "accepted"),
    ]
    assert (root / "a.py").read_bytes() == b"2\n"
    assert (root / "a.py").stat().st_mode & 0o777 == 0o750
    assert (root / "sub" / "new.sh").stat().st_mode & 0o777 == 0o755
    assert not (root / "old.py").exists()
    assert [one.state for one in reject(store, "r1")] == ["rejected"]
    assert not (root / "b.py").exists()
    assert accept(store, root, "r1") == [] == reject(store, "r1")
    assert [row.state for row in store.list("r1", state="rejected")] == ["rejected"]
    assert [row.change.path for row in store.list("r1", "t2")] == ["b.py"]
    assert sorted(path.name for path in root.iterdir()) == [".engine", "a.py", "sub"]


def test_two_tasks_on_one_file(root: Path) -> None:
    store = ChangeStore(root)
    before = b"def a():\n    pass\n\ndef b():\n    pass\n"
    (root / "m.py").write_bytes(before)
    first = before.replace(b"def a():\n", b"def a():\n    'A'\n")
    second = before.replace(b"def b():\n", b"def b():\n    'B'\n")
    rival = before.replace(b"def a():\n", b"def a():\n    'rival'\n")
    for task, after in (("first", first), ("rival", rival), ("second", second)):
        offer(store, task, Change("m.py", before, after))
    decisions = {one.task_id: one for one in accept(store, root, "r1")}
    assert [decisions[task].state for task in ("first", "rival", "second")] == ["accepted", "conflict", "accepted"]
    assert "changed by task first" in decisions["rival"].reason
    assert (root / "m.py").read_bytes() == first.replace(b"def b():\n", b"def b():\n    'B'\n")
    assert store.list("r1", "rival")[0].state == "conflict"
    assert [one.state for one in accept(store, root, "r1")] == ["conflict"]
    (root / "m.py").write_bytes(before)  # a person undoes it: now the rival fits
    assert [one.state for one in accept(store, root, "r1")] == ["accepted"]
    assert (root / "m.py").read_bytes() == rival
    offer(store, "third", Change("m.py", before, second), run="r2")
    assert [one.state for one in accept(store, root, "r2")] == ["accepted"]
    assert (root / "m.py").read_bytes() == rival.replace(b"def b():\n", b"def b():\n    'B'\n")


def test_a_file_that_changed_is_refused_and_nothing_is_lost(root: Path) -> None:
    store = ChangeStore(root)
    (root / "a").write_bytes(b"1\n")
    offer(
        store,
        "t",
        Change("a", b"0\n", b"2\n"),
        Change("b", None, b"mine"),
        Change("gone", b"x", None),
        Change("c", b"x", b"y"),
    )
    (root / "b").write_bytes(b"theirs")
    (root / "c").mkdir()
    decisions = accept(store, root, "r1")
    assert [(one.path, one.state) for one in decisions] == [
        ("a", "refused"),
        ("b", "refused"),
        ("gone", "accepted"),
        ("c", "refused"),
    ]
    assert "a changed since the task read it" in decisions[0].reason
    assert "run the bundle again" in decisions[0].reason
    assert "b exists now" in decisions[1].reason
    assert (root / "a").read_bytes() == b"1\n"
    assert (root / "b").read_bytes() == b"theirs"
    assert [row.state for row in store.list("r1")] == ["pending", "pending", "accepted", "pending"]
    (root / "a").write_bytes(b"0\n")
    (root / "b").unlink()
    (root / "c").rmdir()
    assert [one.state for one in accept(store, root, "r1")] == ["accepted", "accepted", "refused"]
    assert (root / "b").read_bytes() == b"mine"


@pytest.mark.parametrize("path", ["../out", "/etc/x", ".git/config", ".engine/changes.db", "link/x", "a\0b"])
def test_no_stored_path_leads_outside(root: Path, path: str) -> None:
    (root / "link").symlink_to(root.parent)
    store = ChangeStore(root)
    offer(store, "t", Change(path, None, b"x"))
    assert [one.state for one in accept(store, root, "r1")] == ["refused"]
    assert sorted(item.name for item in root.parent.iterdir()) == ["project"]


def test_a_verifier_is_asked_about_what_would_be_written(root: Path) -> None:
    store = ChangeStore(root)
    (root / "f").write_bytes(b"1\n2\n3\n")
    offer(store, "one", Change("f", b"1\n2\n3\n", b"1\n2\nbad\n"))
    offer(store, "two", Change("f", b"1\n2\n3\n", b"good\n2\n3\n"))
    offer(store, "three", Change("f", b"1\n2\n3\n", b"1\nugly\n3\n"))

    def verify(path: str, before: bytes | None, after: bytes | None) -> str | None:
        assert (path, before) == ("f", (root / "f").read_bytes())
        return (
            "it is bad"
            if b"bad" in (after or b"")
            else "together ugly"
            if (after or b"") == b"good\nugly\n3\n"
            else None
        )

    decisions = accept(store, root, "r1", verify=verify)
    assert [(one.state, one.reason) for one in decisions] == [
        ("refused", "it is bad"), ("accepted", ""), ("conflict", "together ugly, together with task two"),
    ]  # fmt: skip
    assert (root / "f").read_bytes() == b"good\n2\n3\n"


def test_offering_again_replaces_what_waits(root: Path) -> None:
    store = ChangeStore(root)
    offer(store, "t", Change("a", None, b"1"), Change("b", None, b"1"))
    offer(store, "t", Change("a", None, b"2"))
    assert [(row.change.path, row.change.after) for row in store.list("r1")] == [("a", b"2")]
    with pytest.raises(AttributeError):
        store.offer("r1", "t", "n", [Change("c", None, b"3"), "not a change"])  # type: ignore[list-item]
    assert [(row.change.path, row.change.after) for row in store.list("r1")] == [("a", b"2")]


def test_pruning_keeps_what_waits(root: Path) -> None:
    store = ChangeStore(root)
    for number in range(6):
        offer(store, "t", Change(f"f{number}", None, b"%d" % number * 100), run=f"r{number}")
        if number != 1:
            accept(store, root, f"r{number}")
    assert store.prune(keep_runs=2) == 3
    assert [bool(store.list(f"r{number}")) for number in range(6)] == [False, True, False, False, True, True]
    with sqlite3.connect(root / ".engine" / "changes.db") as db:
        assert db.execute("SELECT count(*) FROM blobs").fetchone() == (3,)
    db.close()


def test_the_store_of_a_newer_engine_is_refused(root: Path) -> None:
    ChangeStore(root)
    db = sqlite3.connect(root / ".engine" / "changes.db")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(ConfigError, match="newer version"):
        ChangeStore(root)
    (root / ".engine" / "changes.db").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match="move it away"):
        ChangeStore(root)


def test_an_unwritable_folder_is_refused_cleanly(root: Path) -> None:
    if os.geteuid() == 0:
        (root / "dir").write_bytes(b"a file where a folder is needed")
    else:
        (root / "dir").mkdir(mode=0o500)
    store = ChangeStore(root)
    offer(store, "t", Change("dir/new", None, b"x"))
    (decision,) = accept(store, root, "r1")
    assert decision.state == "refused"
    assert "cannot be written" in decision.reason
    assert store.intents() == []


def test_two_deciders_at_once(root: Path) -> None:
    store = ChangeStore(root)
    for number in range(40):
        (root / f"f{number}").write_bytes(b"old\n")
        offer(store, f"t{number}", Change(f"f{number}", b"old\n", b"new\n"))
    done: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: done.append([one.path for one in accept(ChangeStore(root), root, "r1")]))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path for paths in done for path in paths) == sorted(f"f{number}" for number in range(40))
    assert all(row.state == "accepted" for row in store.list("r1"))


ACCEPT = """
import sys
from pathlib import Path
from engine.workspace import ChangeStore, accept
root = Path(sys.argv[1])
store = ChangeStore(root)
print("ready", flush=True)
accept(store, root, "r1")
"""


def test_accepting_survives_sigkill(root: Path) -> None:
    """Killed over and over while it accepts edits, merges, creations and deletions: no file is ever half written."""
    store = ChangeStore(root)
    expected: dict[str, tuple[bytes | None, ...]] = {}
    for number in range(24):
        old, new = b"old %d\n" % number * 3000, b"new %d\n" % number * 4000
        kind = number % 4
        name = f"d{number % 7}/f{number}"
        (root / name).parent.mkdir(exist_ok=True)
        if kind != 1:
            (root / name).write_bytes(old)
        if kind == 0:
            offer(store, f"t{number}", Change(name, old, new))
            expected[name] = (old, new)
        elif kind == 1:
            offer(store, f"t{number}", Change(name, None, new))
            expected[name] = (None, new)
        elif kind == 2:
            offer(store, f"t{number}", Change(name, old, None))
            expected[name] = (old, None)
        else:
            offer(store, f"t{number}a", Change(name, old, b"top\n" + old))
            offer(store, f"t{number}b", Change(name, old, old + b"end\n"))
            expected[name] = (old, b"top\n" + old, b"top\n" + old + b"end\n")
    chance = random.Random(7)
    kills = 0
    for _ in range(8):
        process = subprocess.Popen([sys.executable, "-c", ACCEPT, str(root)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        kills += process.wait() == -signal.SIGKILL
        for name, contents in expected.items():
            assert ((root / name).read_bytes() if (root / name).exists() else None) in contents
        if all(row.state == "accepted" for row in store.list("r1")):
            break
    assert kills >= 1
    assert all(one.state == "accepted" for one in accept(store, root, "r1"))
    assert all(row.state == "accepted" for row in store.list("r1"))
    for name, contents in expected.items():
        assert ((root / name).read_bytes() if (root / name).exists() else None) == contents[-1]
    assert not list(root.rglob("*.tmp"))
    assert accept(store, root, "r1") == []

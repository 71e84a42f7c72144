"""The cache's file: several processes, death, damage, bounds."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import ConfigError
from engine.messages import Usage
from engine.run.cache.entry import NewEntry
from engine.run.cache.record import Read, Write
from engine.run.cache.store import TaskCache
from engine.run.cache.writer import CacheWriter

WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_cache_store import entry
from engine.run.cache.store import TaskCache
cache = TaskCache(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    cache.add([entry(f"{{sys.argv[2]}}-{{number}}-{{part}}", b"x" * 3000 + bytes([number % 7])) for part in range(5)])
"""


def entry(key: str, after: bytes | None = b"after", *, reads: tuple[Read, ...] = (), bundle: str = "note") -> NewEntry:
    write = Write("a.py", after, None, None, 1, 0, node=True)
    said = {"reason": "no_call", "summary": "s", "turns": 1, "adapter": None, "checks": []}
    return NewEntry(
        *(key, "scene", '{"bundle": "note"}', bundle, f"t-{key}", "n1", "a.py::f", "{}", "", reads, None, said),
        *(Usage(10, 5), 1.5, [write]),
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".engine" / "cache.db"


def writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    source = WRITER.format(tests=str(Path(__file__).parent))
    argv = [sys.executable, "-c", source, str(path), name, str(count)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)


def test_what_is_stored_is_found_again(path: Path) -> None:
    with TaskCache(path) as cache:
        assert (cache.find(["a"]), cache.stats().entries, path.exists()) == ({}, 0, False)
        cache.add([entry("a"), entry("b", None), entry("a", reads=(Read("file", "x", "1"),))])
        found = cache.find(["a", "b", "c"])
        assert {key: len(entries) for key, entries in found.items()} == {"a": 2, "b": 1}
        (gone,) = cache.writes(found["b"])[found["b"][0].id]
        assert (gone.path, gone.after) == ("a.py", None)
        assert found["a"][0].questions == [Read("file", "x", "1")]
        assert found["a"][0].as_hit().usage == Usage(10, 5)
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_the_same_result_again_replaces_the_old_one(path: Path) -> None:
    with TaskCache(path) as cache:
        cache.add([entry("a", b"one")])
        cache.add([entry("a", b"two")])
        (only,) = cache.find(["a"])["a"]
        assert cache.writes([only])[only.id][0].after == b"two"
        for number in range(20):
            cache.add([entry("a", reads=(Read("file", "x", str(number)),))])
        assert len(cache.find(["a"])["a"]) == 8


def test_contents_are_stored_once_and_go_with_their_last_entry(path: Path) -> None:
    with TaskCache(path) as cache:
        cache.add([entry("a", b"same"), entry("b", b"same"), entry("c", b"other")])
        assert blobs(path) == 2
        cache.forget([found[0].id for found in cache.find(["a", "c"]).values()])
        assert blobs(path) == 1
        assert list(cache.find(["a", "b", "c"])) == ["b"]


def blobs(path: Path) -> int:
    with sqlite3.connect(path) as db:
        count = db.execute("SELECT count(*) FROM blobs").fetchone()[0]
    db.close()
    return int(count)


def test_the_least_recently_used_go_first(path: Path) -> None:
    with TaskCache(path, max_entries=10) as cache:
        for number in range(10):
            cache.add([entry(f"k{number}")])
        cache.touch([cache.find(["k0"])["k0"][0].id])
        cache.add([entry("k10")])
        assert cache.prune() == 2
        assert set(cache.find([f"k{number}" for number in range(11)])) == {"k0", *(f"k{at}" for at in range(3, 11))}


def test_the_bounds_hold_while_entries_come(path: Path) -> None:
    with TaskCache(path, max_bytes=50_000) as cache:
        for start in range(0, 60, 10):
            cache._trimmed = 0.0  # as if a second had passed
            cache.add([entry(f"{start + one}", bytes([start + one]) * 1000) for one in range(10)])
        assert 30 < cache.stats().entries < 45
        before = cache.stats().size
        assert cache.prune(max_bytes=3000) > 25
        assert cache.stats().size < before / 2


def test_what_nobody_used_for_long_can_go(path: Path) -> None:
    with TaskCache(path) as cache:
        cache.add([entry("old"), entry("new")])
        with sqlite3.connect(path) as db:
            db.execute("UPDATE entries SET used = ? WHERE key = 'old'", (time.time() - 10 * 86400,))
        db.close()
        assert (cache.prune(unused_days=9), list(cache.find(["old", "new"]))) == (1, ["new"])
        assert cache.prune(unused_days=0) == 1


def test_hits_and_savings_are_counted_by_bundle(path: Path) -> None:
    with TaskCache(path) as cache:
        cache.add([entry("a"), entry("b", bundle="lint")])
        number = cache.find(["a"])["a"][0].id
        cache.touch([number, number])
        stats = cache.stats()
        assert {name: (row.entries, row.hits, row.saved_tokens) for name, row in stats.bundles.items()} == {
            "note": (1, 2, 30),
            "lint": (1, 0, 0),
        }


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE blobs SET data = x'00'",
        "UPDATE writes SET path = '../evil.py'",
        "UPDATE writes SET after = NULL",
        "UPDATE writes SET node = 0",
        "DELETE FROM writes",
        "UPDATE entries SET reads = '[]'",
        """UPDATE entries SET result = '{"summary": "evil"}'""",
        "UPDATE entries SET source = 'other'",
    ],
)
def test_an_entry_that_was_tampered_with_is_forgotten(path: Path, statement: str) -> None:
    with TaskCache(path) as cache:
        cache.add([entry("a", reads=(Read("file", "x", "1"),))])
        with sqlite3.connect(path) as db:
            db.execute(statement)
        db.close()
        assert cache.writes(cache.find(["a"])["a"]) == {}
        assert cache.find(["a"]) == {}
        cache.add([entry("a")])
        (again,) = cache.find(["a"])["a"]
        assert cache.writes([again])[again.id][0].after == b"after"


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage" * 500)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [garbage, truncated, folder])
def test_a_damaged_file_is_one_line_with_the_way_out(path: Path, damage: Callable[[Path], None]) -> None:
    with TaskCache(path) as cache:
        cache.add([entry(f"k{number}", bytes([number]) * 9000) for number in range(30)])
    damage(path)
    with TaskCache(path) as cache, pytest.raises(ConfigError, match=r"cache\.db cannot be used: .*engine cache clear"):
        read_all(cache)
    with TaskCache(path) as cache:
        if path.is_dir():
            with pytest.raises(ConfigError, match="cannot be removed"):
                cache.clear()
            return
        assert cache.clear() > 0
        cache.add([entry("a")])
        assert list(cache.find(["a"])) == ["a"]


def read_all(cache: TaskCache) -> None:
    cache.writes([found for entries in cache.find(f"k{at}" for at in range(30)).values() for found in entries])
    cache.stats()


def test_a_file_of_another_version_is_made_anew(path: Path) -> None:
    with TaskCache(path) as cache:
        cache.add([entry("a")])
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
        db.execute("CREATE TABLE more (x)")
    db.close()
    with TaskCache(path) as cache:
        assert cache.find(["a"]) == {}
        cache.add([entry("a")])
        assert list(cache.find(["a"])) == ["a"]


def test_two_processes_write_at_once(path: Path) -> None:
    processes = [writer(path, name, 40) for name in ("one", "two")]
    assert [process.wait(60) for process in processes] == [0, 0]
    for process in processes:
        process.communicate()
    with TaskCache(path) as cache:
        keys = [f"{name}-{number}-{part}" for name in ("one", "two") for number in range(40) for part in range(5)]
        found = cache.find(keys)
        assert sorted(found) == sorted(keys)
        assert len(cache.writes([one for entries in found.values() for one in entries])) == len(keys)


def test_a_process_that_is_killed_while_it_writes_leaves_whole_entries(path: Path) -> None:
    for attempt in range(4):
        process = writer(path, f"p{attempt}", 100_000)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.03 + 0.04 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        with TaskCache(path) as cache:
            entries = cache.near("bundle", "note", 100_000)
            assert len(cache.writes(entries)) == len(entries)
            assert len(entries) % 5 == 0
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_the_writer_stores_in_the_background(path: Path) -> None:
    with TaskCache(path) as cache:
        background = CacheWriter(cache)
        for number in range(1200):
            background.put(entry(f"k{number}"))
        background.close()
        assert cache.stats().entries == 1200
        background.touch([1, 2])
        background.close()
        assert cache.stats().bundles["note"].hits == 2
        background.close()


def test_what_cannot_be_stored_is_said_once_and_nothing_else_happens(path: Path) -> None:
    path.parent.mkdir()
    garbage(path)
    with TaskCache(path) as cache:
        background = CacheWriter(cache)
        background.put(entry("a"))
        background.close()
        assert "engine cache clear" in str(background.problem)
        background.put(entry("b"))
        background.close()
    assert path.read_bytes() == b"garbage" * 500

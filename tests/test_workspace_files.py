"""The file helpers: globs, project roots and the atomic write."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import WorkspaceError
from engine.files import atomic_write, find_project_root, glob_match, join_inside, normalise
from engine.files.gitignore import Rules


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("**/*", ["a", "a/b", ".hidden", "a/.b/c"], []),
        ("**", ["a", "a/b"], []),
        ("*", ["a"], ["a/b"]),
        ("**/*.py", ["a.py", "x/y/a.py"], ["a.pyc", "py"]),
        ("src/**", ["src/a", "src/a/b"], ["src", "srcs/a", "x/src/a"]),
        ("src/**/test_*.py", ["src/test_a.py", "src/x/y/test_b.py"], ["test_a.py", "src/a.py"]),
        ("./a/*.md", ["a/x.md"], ["x.md", "a/b/x.md"]),
        ("a?[0-9]", ["ab1"], ["a/1", "ab", "abx"]),
        ("**/a/**/b", ["a/b", "x/a/y/z/b"], ["b", "a", "a/b/c"]),
        ("*.PY", ["x.PY"], ["x.py"]),
        ("", [], ["a", "a/b"]),
        ("[", ["["], ["a"]),
    ],
)
def test_globs(pattern: str, matching: list[str], other: list[str]) -> None:
    assert [path for path in [*matching, *other] if glob_match(path, pattern)] == matching


@given(st.text(alphabet="ab/.*?[]!\\", max_size=20), st.text(alphabet="ab/.", min_size=1, max_size=10))
def test_any_glob_is_answered(pattern: str, path: str) -> None:
    assert glob_match(path, pattern) in (True, False)
    assert glob_match("a" * 2000, "*a" * 200 + "b") is False
    assert glob_match("a/" * 300 + "a", "**/" * 50 + "b") is False


def test_the_projects_root(tmp_path: Path) -> None:
    (tmp_path / "repo" / "pkg" / "deep").mkdir(parents=True)
    assert find_project_root(tmp_path / "repo" / "pkg") == tmp_path / "repo" / "pkg"
    (tmp_path / "repo" / "pyproject.toml").touch()
    (tmp_path / "repo" / "pkg" / "x.py").touch()
    assert find_project_root(tmp_path / "repo" / "pkg" / "x.py") == tmp_path / "repo"
    (tmp_path / "repo" / "pkg" / ".engine").mkdir()
    assert find_project_root(tmp_path / "repo" / "pkg" / "deep") == tmp_path / "repo" / "pkg"


def test_paths_are_refused_once_a_link_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    assert normalise(tmp_path, "real/x") == "real/x"
    assert join_inside(tmp_path, "real/x") == tmp_path / "real" / "x"
    (tmp_path / "link").symlink_to("real")
    assert normalise(tmp_path, "link/x") == "real/x"
    with pytest.raises(WorkspaceError, match="link"):
        join_inside(tmp_path, "link/x")
    with pytest.raises(WorkspaceError):
        normalise(tmp_path, "a" * 300 + "/" + "b" * 5000 + "/../../..")


def test_atomic_write_keeps_the_mode_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_text("old")
    path.chmod(0o751)
    atomic_write(path, "new\r\n")
    assert path.read_bytes() == b"new\r\n"
    assert path.stat().st_mode & 0o777 == 0o751
    atomic_write(path, b"x", 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    old = os.umask(0o027)
    try:
        atomic_write(tmp_path / "fresh", b"")
    finally:
        os.umask(old)
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to(path)
    atomic_write(tmp_path / "link", b"own")
    assert path.read_bytes() == b"x"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        atomic_write(tmp_path / "folder", b"x")
    with pytest.raises(FileNotFoundError):
        atomic_write(tmp_path / "missing" / "f", b"x")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["f", "folder", "fresh", "link"]


WRITER = """
import sys
from engine.files import atomic_write
contents = [bytes([65 + index]) * 500_000 for index in range(5)]
print("ready", flush=True)
while True:
    for content in contents:
        atomic_write(sys.argv[1], content)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for delay in (0.0, 0.01, 0.03, 0.05):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delay)
        content = path.read_bytes()
        assert len(content) == 500_000
        assert len(set(content)) == 1
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
        process.wait()
        content = path.read_bytes()
        assert (len(content), len(set(content))) == (500_000, 1)


def test_ignore_rules_take_little_time_whatever_they_say() -> None:
    rules = Rules("*a" * 30 + "*b\n" + "/x/" + "a*" * 30 + "c\n")
    assert rules.answer("a" * 250, folder=False) is None
    assert rules.answer("x/" + "a" * 250, folder=False) is None
    assert rules.answer("a" * 50 + "b", folder=False) is True
    assert rules.answer("x/" + "a" * 50 + "c", folder=False) is True
    assert Rules("*a[b]*c*").answer("aaabac", folder=False) is True
    assert Rules("x*/y*z*/*.py").answer("xx/yaz/q.py", folder=False) is True

"""The copy-on-write view: paths, permissions, text and changes, over real files."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import PermissionDenied, WorkspaceError
from engine.manifest.bundle_model import Permissions
from engine.workspace import Workspace
from engine.workspace.text import decode_text, encode_text


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "base"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "src" / "a.py").write_text("A = 1\n")
    (root / "src" / "deep" / "b.py").write_text("B = 2\n")
    (root / "README.md").write_text("hello\n")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (tmp_path / "base-evil").mkdir()
    (tmp_path / "base-evil" / "x").write_text("outside")
    (tmp_path / "outside.txt").write_text("outside")
    (root / "link-out").symlink_to(tmp_path / "outside.txt")
    (root / "dir-out").symlink_to(tmp_path)
    (root / "link-in").symlink_to("src/a.py")
    (root / "loop").symlink_to("loop")
    return root


def make(root: Path, write: tuple[str, ...] = ("**/*",), **more: object) -> Workspace:
    return Workspace(root, Permissions(write=write, **more))


ESCAPES = [
    "..", "../outside.txt", "src/../../outside.txt", "/etc/passwd", "../base-evil/x", "link-out", "dir-out/outside.txt",
    "dir-out/new.txt", "", "a\0b", "src/\0", "/", "~/../../etc/passwd/../../../..", "\udcff/../..", "a\ud800",
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
def test_no_spelling_leaves_the_root(root: Path, path: str) -> None:
    workspace = make(root)
    for action in (
        lambda: workspace.read_bytes(path),
        lambda: workspace.write_text(path, "x"),
        lambda: workspace.delete(path),
        lambda: workspace.exists(path),
        lambda: workspace.list_dir(path),
    ):
        with pytest.raises(WorkspaceError):
            action()
    assert (root.parent / "outside.txt").read_text() == "outside"
    assert workspace.changes() == []


@pytest.mark.parametrize(
    "path",
    [".git/config", ".git", "./.git/x", "src/../.git/config", ".engine/changes.db", "sub/.git/config", ".GIT/config"],
)
def test_git_and_engine_folders_are_closed(root: Path, path: str) -> None:
    workspace = make(root)
    for action in (workspace.read_text, workspace.delete, workspace.exists, workspace.list_dir):
        with pytest.raises(PermissionDenied, match="git or to the engine"):
            action(path)
    with pytest.raises(PermissionDenied):
        workspace.write_text(path, "x")


def test_spellings_of_one_file_are_one_file(root: Path) -> None:
    workspace = make(root)
    for path in ("src/a.py", "./src/a.py", "src//a.py", "src/deep/../a.py", str(root / "src" / "a.py"), "link-in"):
        assert workspace.read_text(path) == "A = 1\n"
    workspace.write_text("link-in", "A = 2\n")
    assert workspace.read_text("src/a.py") == "A = 2\n"
    (root.parent / "alias").symlink_to(root)
    assert make(root.parent / "alias").read_text(str(root.parent / "alias" / "src" / "a.py")) == "A = 1\n"
    assert make(root.parent / "alias").read_text(str(root / "src" / "a.py")) == "A = 1\n"
    assert [change.path for change in workspace.changes()] == ["src/a.py"]
    with pytest.raises(WorkspaceError):
        workspace.exists("loop")


NAMES = st.sampled_from(
    [
        "..",
        ".",
        "",
        "src",
        "a.py",
        "base-evil",
        "link-out",
        "dir-out",
        "link-in",
        "new",
        ".git",
        "~",
        "\0",
        "\n",
        "C:",
        "\\",
        "%2e%2e",
    ]
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.one_of(st.lists(NAMES, max_size=6).map("/".join), st.text(max_size=30)), absolute=st.booleans())
def test_no_path_string_reads_or_changes_anything_outside(root: Path, path: str, absolute: bool) -> None:
    workspace = make(root)
    text = str(root) + "/" + path if absolute else path
    for action in (lambda: workspace.write_text(text, "mine"), lambda: workspace.delete(text)):
        try:
            action()
        except WorkspaceError:
            continue
    for change in workspace.changes():
        real = os.path.realpath(root / change.path)
        assert real.startswith(str(root) + "/")
        assert ".git" not in change.path.casefold().split("/")
    with contextlib.suppress(WorkspaceError):
        assert workspace.read_bytes(text) != b"outside"


def test_permissions_name_the_permission_and_the_path(root: Path) -> None:
    workspace = make(root, write=("src/**/*.py",), read=("src/**",))
    with pytest.raises(
        PermissionDenied, match=r"permission 'read' does not cover README\.md; the bundle may read: src/\*\*"
    ):
        workspace.read_text("README.md")
    with pytest.raises(PermissionDenied, match=r"permission 'write' does not cover src/x\.txt; .*src/\*\*/\*\.py"):
        workspace.write_text("src/x.txt", "")
    with pytest.raises(PermissionDenied, match="'write'"):
        workspace.delete("README.md")
    with pytest.raises(PermissionDenied):
        workspace.exists("README.md")
    workspace.write_text("src/new.py", "")
    workspace.write_text("src/deep/new.py", "")
    assert workspace.list_dir(".") == ["src"]
    with pytest.raises(PermissionDenied, match="may write: nothing"):
        Workspace(root, Permissions()).write_text("src/a.py", "")


def test_the_project_is_never_touched(root: Path) -> None:
    workspace = make(root)
    workspace.write_text("src/a.py", "changed")
    workspace.write_text("x/y/z.txt", "new")
    workspace.delete("README.md")
    assert (root / "src" / "a.py").read_text() == "A = 1\n"
    assert not (root / "x").exists()
    assert (root / "README.md").exists()
    assert [(change.path, change.kind) for change in workspace.changes()] == [
        ("README.md", "delete"), ("src/a.py", "edit"), ("x/y/z.txt", "create"),
    ]  # fmt: skip


def test_folders_are_a_union_with_tombstones(root: Path) -> None:
    workspace = make(root)
    workspace.delete("src/a.py")
    workspace.write_text("src/c.py", "")
    workspace.write_text("src/new/d.py", "")
    assert workspace.list_dir("src") == ["c.py", "deep", "new"]
    assert workspace.list_dir("src/new") == ["d.py"]
    assert workspace.exists("src/new")
    assert not workspace.exists("src/a.py")
    assert ".git" not in workspace.list_dir()
    with pytest.raises(WorkspaceError, match="no such file"):
        workspace.read_text("src/a.py")
    with pytest.raises(WorkspaceError, match="no such folder"):
        workspace.list_dir("src/a.py")
    workspace.delete("src/new/d.py")
    assert not workspace.exists("src/new")


def test_files_and_folders_cannot_take_each_others_place(root: Path) -> None:
    workspace = make(root)
    for path in ("src", "src/a.py/below", "."):
        with pytest.raises(WorkspaceError):
            workspace.write_text(path, "x")
    workspace.write_text("new", "x")
    with pytest.raises(WorkspaceError, match="new is a file"):
        workspace.write_text("new/below", "x")
    with pytest.raises(WorkspaceError, match="is not a file"):
        workspace.read_text("src")


def test_writes_without_effect_vanish_and_before_is_what_was_seen_first(root: Path) -> None:
    workspace = make(root)
    workspace.write_text("src/a.py", "A = 1\n")
    workspace.write_text("tmp", "x")
    workspace.delete("tmp")
    assert workspace.changes() == []
    assert workspace.read_text("README.md") == "hello\n"
    assert not workspace.exists("later.txt")
    (root / "README.md").write_text("someone else\n")
    (root / "later.txt").write_text("someone else\n")
    assert workspace.read_text("README.md") == "hello\n"
    workspace.write_text("README.md", "mine\n")
    workspace.write_text("later.txt", "mine\n")
    assert [(change.path, change.before, change.after) for change in workspace.changes()] == [
        ("README.md", b"hello\n", b"mine\n"), ("later.txt", None, b"mine\n"),
    ]  # fmt: skip


def test_text_keeps_endings_and_mark(root: Path) -> None:
    (root / "crlf.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\nthree\r\n")
    (root / "mixed.txt").write_bytes(b"one\r\ntwo\nthree\r\nfour")
    (root / "latin.txt").write_bytes(b"caf\xe9")
    workspace = make(root)
    assert workspace.read_text("crlf.txt") == "one\ntwo\nthree\n"
    workspace.write_text("crlf.txt", "one\n2\n2b\nthree\n")
    assert workspace.read_bytes("crlf.txt") == b"\xef\xbb\xbfone\r\n2\r\n2b\r\nthree\r\n"
    workspace.write_text("mixed.txt", "zero\none\ntwo\nthree\nfour\n")
    assert workspace.read_bytes("mixed.txt") == b"zero\r\none\r\ntwo\nthree\r\nfour\r\n"
    with pytest.raises(WorkspaceError, match=r"latin\.txt is not UTF-8 text \(byte 3\)"):
        workspace.read_text("latin.txt")
    with pytest.raises(WorkspaceError, match="cannot be UTF-8"):
        workspace.write_text("new.txt", "\ud800")


LINES = st.lists(st.sampled_from(["", "a", "b", "def f():", "é"]), max_size=8)


@given(LINES, st.lists(st.sampled_from(["\r\n", "\n"]), min_size=8, max_size=8), st.booleans(), st.booleans(), LINES)
def test_text_round_trips(lines: list[str], endings: list[str], mark: bool, final: bool, other: list[str]) -> None:
    body = "".join(line + ending for line, ending in zip(lines, endings, strict=False)) + ("" if final else "end")
    raw = (b"\xef\xbb\xbf" if mark else b"") + body.encode()
    text = decode_text(raw, "f")
    assert encode_text(text, raw, "f") == raw
    new = "\n".join(other)
    again = encode_text(new, raw, "f")
    assert decode_text(again, "f") == new
    assert again.startswith(b"\xef\xbb\xbf") == mark


def test_modes_travel_with_changes(root: Path) -> None:
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o755)
    workspace = make(root)
    workspace.write_text("run.sh", "#!/bin/sh\necho\n")
    assert workspace.changes()[0].mode == 0o755
    assert "new file" not in workspace.changes()[0].diff()


def test_search_is_linear_bounded_and_sees_the_overlay(root: Path) -> None:
    workspace = make(root)
    workspace.write_text("src/a.py", "A = 1\nNEEDLE = 2\n")
    workspace.delete("src/deep/b.py")
    (root / ".gitignore").write_text("ignored.txt\n")
    (root / "ignored.txt").write_text("NEEDLE\n")
    (root / "other.txt").write_bytes(b"x\r\nNEEDLE y\r\n")
    assert workspace.search("^NEEDLE") == [
        {"path": "src/a.py", "line": 2, "text": "NEEDLE = 2"}, {"path": "other.txt", "line": 2, "text": "NEEDLE y"},
    ]  # fmt: skip
    assert workspace.search("NEEDLE", "**/*.py") == [{"path": "src/a.py", "line": 2, "text": "NEEDLE = 2"}]
    assert workspace.search(r"B = \d") == []
    assert workspace.search(r"\ANEEDLE = 2\z")[0]["line"] == 2
    (root / "long.txt").write_text("a" * 100_000 + "!\n" + "many\n" * 1000)
    assert len(workspace.search("(a+)+$|((a|a)*)*b|many")) == 200
    assert len(workspace.search("a{10}")[0]["text"]) == 300
    for bad in ("(", "(?=x)", r"(a)\1", "(?:(?:a{900}){900}){900}", "x" * 2000, "\ud800"):
        with pytest.raises(WorkspaceError):
            workspace.search(bad)
    assert workspace.search("x", "[" * 50 + "*a" * 100) == []


def test_special_and_huge_files_are_errors(root: Path) -> None:
    os.mkfifo(root / "pipe")
    (root / "huge").write_bytes(b"")
    os.truncate(root / "huge", 11 << 20)
    workspace = make(root)
    with pytest.raises(WorkspaceError, match="not a file"):
        workspace.read_bytes("pipe")
    with pytest.raises(WorkspaceError, match="larger than"):
        workspace.read_bytes("huge")
    with pytest.raises(WorkspaceError, match="more than a task may write"):
        workspace.write_bytes("new", bytes(11 << 20))
    for index in range(6):
        workspace.write_bytes(f"big{index}", bytes(10 << 20))
    with pytest.raises(WorkspaceError, match="in all"):
        workspace.write_bytes("big6", bytes(10 << 20))
    with pytest.raises(WorkspaceError):
        workspace.read_bytes("x" * 5000)


def test_threads_may_share_it(root: Path) -> None:
    workspace = make(root)

    def work(number: int) -> None:
        for index in range(50):
            workspace.write_text(f"t{number}/{index}", str(index))
            workspace.list_dir(".")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(workspace.changes()) == 200

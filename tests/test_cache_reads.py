"""What a task read: a stored result is taken exactly when a fresh run would come to the same."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from projects import make_bundle

from engine.bundle import load_bundle
from engine.discovery import parse_file
from engine.errors import WorkspaceError
from engine.manifest.bundle_model import Permissions
from engine.messages import Usage
from engine.models import QwenPlugin
from engine.run.cache.entry import Entry, checksum_of, reads_text
from engine.run.cache.holds import Holds
from engine.run.cache.record import Read, Record, make_record, text_digest
from engine.run.cache.replay import result_now
from engine.run.editor import NodeEditor
from engine.run.plan import Assignment, Task
from engine.workspace import Change, CommandRunner, Snapshot, Workspace

SOURCE = "import os\n\n\ndef first(a):\n    return a\n\n\ndef second(b):\n    return b\n"
FILES = {
    "src/a.py": SOURCE,
    "src/b.py": "LIMIT = 3\n",
    "src/deep/c.txt": "needle here\n",
    "notes.md": "# Notes\n\nneedle\n",
    ".gitignore": "ignored.txt\n",
    "ignored.txt": "needle\n",
}
PLACES = [*FILES, "src/new.py", "src", "src/deep", "nowhere", "src/deep/c.txt/below", "../outside", "src/../notes.md"]


@dataclass
class Program:
    """A deterministic task: what it does next depends on all that it saw before."""

    steps: list[tuple[str, str]]
    seen: list[str] = field(default_factory=list)

    def run(self, workspace: Workspace, editor: NodeEditor) -> None:
        for kind, place in self.steps:
            try:
                self.seen.append(repr(self._step(kind, place, workspace, editor)))
            except WorkspaceError as error:
                self.seen.append(f"refused: {error}")

    def _step(self, kind: str, place: str, workspace: Workspace, editor: NodeEditor) -> object:
        said = f"# {hashlib.sha256('|'.join(self.seen).encode()).hexdigest()[:8]}"
        steps = {
            "read": lambda: workspace.read_text(place),
            "write": lambda: workspace.write_text(place, said + "\n"),
            "delete": lambda: workspace.delete(place),
            "exists": lambda: workspace.exists(place),
            "list": lambda: workspace.list_dir(place),
            "search": lambda: workspace.search("needle|LIMIT", "**/*" if place in FILES else "src/**"),
            "source": editor.source,
            "replace": lambda: editor.replace(editor.source() + f"\n    {said}"),
        }
        return steps[kind]()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["read", "write", "delete", "exists", "list", "search", "source", "replace", "replace"]),
        st.sampled_from(PLACES),
    ),
    min_size=1,
    max_size=6,
)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["append", "put", "remove", "remove tree", "fill", "link", "turn", "elsewhere", "node"]),
        st.sampled_from([*FILES, "src/new.py", "src/deep", "nowhere", "src/other/new.txt"]),
    ),
    max_size=3,
)


BASES = st.tuples(*[st.sampled_from(["", "", "src/a.py", "src/b.py"])] * 2)


def write_project(root: Path) -> Path:
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def edit(root: Path, kind: str, name: str) -> None:
    """Change the project as a person does."""
    path, own = root / name, root / "src/a.py"
    if kind == "append" and path.is_file():
        path.write_text(path.read_text() + "needle more\n")
    elif kind == "put" and not path.exists() and path.parent.is_dir():
        path.write_text("needle new\n")
    elif kind == "remove" and path.is_file() and name != "src/a.py":
        path.unlink()
    elif kind == "remove tree" and path.is_dir():
        shutil.rmtree(path)
    elif kind == "fill" and path.is_dir():
        (path / "filled.txt").write_text("x\n")
    elif kind == "link" and not path.exists() and path.parent.is_dir():
        path.symlink_to(os.path.relpath(root / "src/b.py", path.parent))
    elif kind == "turn" and path.is_file() and name not in ("src/a.py", "notes.md"):
        path.unlink()
        path.symlink_to(os.path.relpath(root / "notes.md", path.parent))
    elif kind == "elsewhere" and own.is_file():
        own.write_text("x = 1\n" + own.read_text())
    elif kind == "node" and own.is_file():
        own.write_text(own.read_text().replace("return a", "return a + 1"))


@pytest.fixture(scope="module")
def assignment(tmp_path_factory: pytest.TempPathFactory) -> Assignment:
    """A bundle that may write what the programs write."""
    folder = make_bundle(tmp_path_factory.mktemp("bundle") / "note")
    manifest = (folder / "bundle.yaml").read_text().replace('write: ["**/*.py"]', 'write: ["**/*"]')
    (folder / "bundle.yaml").write_text(manifest.replace("checks: [parses]\n", ""))
    return Assignment(load_bundle(folder), QwenPlugin())


def task_of(root: Path, assignment: Assignment, base: str = "") -> Task:
    """Return the task on `first`, on top of what a task before it offered in that file, in another one, or nothing."""
    path = root / base
    offered = path.read_bytes() if base and path.is_file() else b""
    below = (Change(base, offered, offered + b"# needle of a task before\n", 0o644),) if offered else ()
    source = below[0].after if base == "src/a.py" and below else (root / "src/a.py").read_bytes()
    nodes = parse_file(source or b"", "src/a.py", "python")
    return Task("t", assignment, next(node for node in nodes if node.name == "first"), base=below)


def run_program(root: Path, task: Task, steps: list[tuple[str, str]]) -> tuple[Program, Record, list]:
    workspace = Workspace(root, task.bundle.manifest.permissions)
    workspace.build_on(task.base)
    editor = NodeEditor(workspace, task.node)
    program = Program(steps)
    program.run(workspace, editor)
    changes = workspace.changes()
    return program, make_record(workspace, editor, changes, task.base), changes


def entry_of(record: Record) -> Entry:
    result = json.dumps({"reason": "no_call", "summary": "s", "turns": 1, "adapter": None, "checks": []})
    reads = reads_text(record.reads)
    checksum = checksum_of("k", reads, record.source, result, record.writes)
    usage = (*vars_of(Usage()), 1.0)
    return Entry(
        *(1, "k", "s", "note", "t", "n", "p", "{}", "", reads, record.source, result, checksum),
        *(*usage, 1, 0.0, 0.0, 0),
    )


def vars_of(usage: Usage) -> tuple[int, int, int]:
    return usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens


def holds(root: Path, task: Task, record: Record) -> bool:
    fresh = record.source in (None, text_digest(task.node.text))
    return fresh and Holds(root).all(record.reads, task.bundle.manifest.permissions, task.base)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, edits=EDITS, bases=BASES)
def test_a_result_that_holds_is_what_a_fresh_run_comes_to(steps, edits, bases, assignment, tmp_path_factory) -> None:
    root = write_project(tmp_path_factory.mktemp("p"))
    then, now = bases
    _, record, _ = run_program(root, task_of(root, assignment, then), steps)
    before = task_of(root, assignment, then).node.text
    for kind, name in edits:
        edit(root, kind, name)
    task = task_of(root, assignment, now)
    if task.node.text != before or not holds(root, task, record):
        return  # another node is another key
    taken = result_now(task, entry_of(record), record.writes, Snapshot(root, task.bundle.manifest.permissions))
    again, _, changes = run_program(root, task, steps)
    assert taken is not None
    assert list(taken.changes) == changes, again.seen


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, bases=BASES)
def test_a_result_holds_as_long_as_nothing_changes(steps, bases, assignment, tmp_path_factory) -> None:
    root = write_project(tmp_path_factory.mktemp("p"))
    task = task_of(root, assignment, bases[0])
    program, record, changes = run_program(root, task, steps)
    if "place" not in {read.kind for read in record.reads}:  # what was in the way may be what the task itself wrote
        assert holds(root, task, record), (record.reads, program.seen)
        taken = result_now(task, entry_of(record), record.writes, Snapshot(root, task.bundle.manifest.permissions))
        assert taken is not None
        assert list(taken.changes) == changes


@pytest.mark.parametrize(
    ("step", "change", "expected"),
    [
        (("read", "src/b.py"), ("append", "src/b.py"), False),
        (("read", "src/b.py"), ("append", "notes.md"), True),
        (("read", "nowhere"), ("put", "nowhere"), False),
        (("exists", "src/new.py"), ("put", "src/new.py"), False),
        (("exists", "src/deep"), ("remove tree", "src/deep"), False),
        (("list", "src"), ("put", "src/new.py"), False),
        (("list", "src"), ("append", "src/b.py"), True),
        (("list", "nowhere"), ("append", "src/b.py"), True),
        (("search", "notes.md"), ("append", "notes.md"), False),
        (("search", "notes.md"), ("append", "ignored.txt"), True),
        (("search", "notes.md"), ("remove", ".gitignore"), False),
        (("source", ""), ("elsewhere", ""), True),
        (("replace", ""), ("elsewhere", ""), True),
        (("read", "src/a.py"), ("elsewhere", ""), False),
        (("write", "src/new.py"), ("put", "src/new.py"), False),
        (("write", "src/b.py"), ("append", "src/b.py"), False),
        (("delete", "notes.md"), ("append", "notes.md"), False),
        (("read", "src/new.py"), ("link", "src/new.py"), False),
    ],
)
def test_what_was_read_decides(step, change, expected, assignment, tmp_path) -> None:
    root = write_project(tmp_path)
    _, record, _ = run_program(root, task_of(root, assignment), [step])
    edit(root, *change)
    assert holds(root, task_of(root, assignment), record) is expected


def test_a_read_behind_an_edit_of_the_node_counts_as_one_of_the_file(assignment, tmp_path) -> None:
    root = write_project(tmp_path)
    _, record, _ = run_program(root, task_of(root, assignment), [("replace", ""), ("read", "src/a.py")])
    assert [read.kind for read in record.reads] == ["file"]
    assert [write.node for write in record.writes] == [True]
    edit(root, "elsewhere", "")
    assert not holds(root, task_of(root, assignment), record)


def test_an_edit_of_the_node_goes_into_the_file_as_it_is_now(assignment, tmp_path) -> None:
    root = write_project(tmp_path)
    _, record, _ = run_program(root, task_of(root, assignment), [("replace", "")])
    text = SOURCE.replace("return b", "return b * 2").replace("import os", "import os\nimport sys")
    (root / "src/a.py").write_bytes(text.replace("\n", "\r\n").encode())
    task = task_of(root, assignment)
    # The node's text has other line ends now, so its key is another one; what the tools see is the same.
    taken = result_now(task, entry_of(record), record.writes, Snapshot(root, task.bundle.manifest.permissions))
    assert taken is not None
    (change,) = taken.changes
    _, _, (fresh,) = run_program(root, task, [("replace", "")])
    assert change.after == fresh.after
    assert change.before == text.replace("\n", "\r\n").encode()
    assert b"return b * 2" in change.after


def test_a_file_that_others_wrote_too_is_kept_whole(assignment, tmp_path) -> None:
    root = write_project(tmp_path)
    _, record, changes = run_program(root, task_of(root, assignment), [("write", "src/a.py"), ("source", "")])
    assert record.untracked == "the node could not be read"
    workspace = Workspace(root, Permissions(write=("**/*",)))
    editor = NodeEditor(workspace, task_of(root, assignment).node)
    editor.replace("def first(a):\n    return 0")
    workspace.write_text("src/a.py", workspace.read_text("src/a.py") + "\nx = 1\n")
    record = make_record(workspace, editor, workspace.changes())
    assert [(write.path, write.node) for write in record.writes] == [("src/a.py", False)]
    assert changes


async def test_a_command_depends_on_every_file_that_it_could_see(assignment, tmp_path) -> None:
    root = write_project(tmp_path)
    permissions = Permissions(read=("**/*.py", "**/*.md"), run=(("python",),))
    workspace = Workspace(root, permissions)
    async with CommandRunner(workspace, permissions.run) as commands:
        assert (await commands.run("python", ["-c", "print(1)"]))["stdout"] == "1\n"
    record = make_record(workspace, NodeEditor(workspace, task_of(root, assignment).node), [])
    assert {read.kind for read in record.reads} == {"tree", "program"}
    assert Holds(root).all(record.reads, permissions)
    (root / "src/deep/c.txt").write_text("not for the bundle's eyes\n")
    assert Holds(root).all(record.reads, permissions)
    for change in (
        lambda: (root / "notes.md").write_text("other\n"),
        lambda: (root / "src/extra.py").write_text(""),
        lambda: (root / "src/b.py").chmod(0o755),
        (root / "src/b.py").unlink,
    ):
        shutil.rmtree(root)
        write_project(root)
        assert Holds(root).all(record.reads, permissions)
        change()
        assert not Holds(root).all(record.reads, permissions)


async def test_a_program_that_is_another_one_now_counts(assignment, tmp_path, monkeypatch) -> None:
    root, programs = write_project(tmp_path / "p"), tmp_path / "bin"
    programs.mkdir()
    (programs / "tool").write_text("#!/bin/sh\necho one\n")
    (programs / "tool").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    permissions = Permissions(run=(("tool",),))
    workspace = Workspace(root, permissions)
    async with CommandRunner(workspace, permissions.run) as commands:
        await commands.run("tool")
    record = make_record(workspace, NodeEditor(workspace, task_of(root, assignment).node), [])
    assert Holds(root).all(record.reads, permissions)
    (programs / "tool").write_text("#!/bin/sh\necho two\n")
    assert not Holds(root).all(record.reads, permissions)


async def test_a_command_that_nobody_can_follow_is_not_tracked(assignment, tmp_path) -> None:
    root = write_project(tmp_path)
    permissions = Permissions(run=(("no-such-program",),))
    workspace = Workspace(root, permissions)
    async with CommandRunner(workspace, permissions.run) as commands:
        with pytest.raises(WorkspaceError):
            await commands.run("no-such-program")
    assert workspace.reads.untracked == "a command could not be run to its end"


def test_questions_that_nobody_knows_never_hold(tmp_path) -> None:
    root = write_project(tmp_path)
    for read in (Read("magic", "x", ""), Read("search", "{", ""), Read("file", "../x", ""), Read("file", "a\0b", "")):
        answer = Holds(root).answer(read, Permissions())
        assert not Holds(root).all([read._replace(answer=answer + "x")], Permissions())
    assert not Holds(root).all([Read("magic", "x", "")], Permissions())

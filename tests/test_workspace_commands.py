"""Commands of a task: real processes in a real copy of a real project."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from engine.errors import ConflictError, PermissionDenied, WorkspaceError
from engine.manifest.bundle_model import Permissions
from engine.workspace import CommandLimits, CommandRunner, ViewLimits, Workspace

PYTHON = (("python",),)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src").mkdir(parents=True)
    (root / "src" / "a.py").write_text("A = 1\n")
    (root / "notes.txt").write_text("notes\n")
    (root / ".gitignore").write_text("secret.txt\nout/\n")
    (root / "secret.txt").write_text("secret")
    (root / ".venv").mkdir()
    (root / ".venv" / "big").write_text("x")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("[core]\n")
    return root


def make(root: Path, *, write: tuple[str, ...] = ("src/**",), limits: CommandLimits | None = None, **more: object):
    workspace = Workspace(root, Permissions(write=write, **more))
    return workspace, CommandRunner(workspace, PYTHON, limits)


def snapshot(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)


def views() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob("engine-view-*")}


async def test_a_command_sees_the_overlay_and_its_edits_come_back(project: Path) -> None:
    workspace, runner = make(project)
    before = snapshot(project)
    workspace.write_text("src/b.py", "B = 2\n")
    async with runner:
        first = await runner.run("python", ["-c", "print(open('src/b.py').read(), open('src/a.py').read())"])
        assert first == {"exit_code": 0, "stdout": "B = 2\n A = 1\n\n", "stderr": ""}
        script = (
            "import os; open('src/a.py','a').write('C = 3\\n'); os.remove('src/b.py');"
            "open('src/new.py','w').write('N\\n')"
        )
        assert (await runner.run("python", ["-c", script]))["exit_code"] == 0
        assert workspace.read_text("src/a.py") == "A = 1\nC = 3\n"
        assert not workspace.exists("src/b.py")
        workspace.write_text("src/a.py", "A = 9\n")
        again = await runner.run("python", ["-c", "print(open('src/a.py').read())"])
        assert again["stdout"] == "A = 9\n\n"
    assert [(change.path, change.kind) for change in workspace.changes()] == [
        ("src/a.py", "edit"),
        ("src/new.py", "create"),
    ]
    assert snapshot(project) == before


async def test_ignored_files_are_neither_copied_nor_taken_back(project: Path) -> None:
    workspace, runner = make(project, write=("**/*",))
    async with runner:
        listing = await runner.run("python", ["-c", "import os; print(sorted(os.listdir('.')))"])
        assert listing["stdout"].strip() == "['.gitignore', 'notes.txt', 'src']"
        script = (
            "import os; os.makedirs('out'); open('out/x','w').write('1');"
            "os.makedirs('__pycache__'); open('__pycache__/m.pyc','w')"
        )
        assert await runner.run("python", ["-c", script]) == {"exit_code": 0, "stdout": "", "stderr": ""}
        assert (await runner.run("python", ["-c", "print(open('out/x').read())"]))["stdout"] == "1\n"
    assert workspace.changes() == []


async def test_files_that_may_not_be_written_are_dropped_and_put_back(project: Path) -> None:
    workspace, runner = make(project)
    async with runner:
        script = (
            "import os; open('notes.txt','w').write('gone'); open('extra','w'); os.symlink('/etc/passwd','src/link');"
            "os.remove('.gitignore'); os.mkdir('.gitignore'); open('src/ok.py','w')"
        )
        result = await runner.run("python", ["-c", script])
        assert result["dropped"] == [".gitignore", "extra", "notes.txt", "src/link"]
        check = (
            "import os; print(open('notes.txt').read(), os.path.exists('extra'), os.path.lexists('src/link'),"
            "os.path.isfile('.gitignore'))"
        )
        assert (await runner.run("python", ["-c", check]))["stdout"] == "notes\n False False True\n"
    assert [change.path for change in workspace.changes()] == ["src/ok.py"]


async def test_only_allowed_prefixes_run(project: Path) -> None:
    workspace = Workspace(project, Permissions())
    async with CommandRunner(workspace, [["python", "-c", "print(1)"], ["missing-tool"]]) as runner:
        assert (await runner.run("python", ["-c", "print(1)"]))["stdout"] == "1\n"
        for argv in (
            ["python", "-c", "print(2)"],
            ["python"],
            ["sh", "-c", "true"],
            ["/usr/bin/python", "-c", "print(1)"],
        ):
            with pytest.raises(PermissionDenied, match=r"permission 'run' .* python -c print\(1\); missing-tool"):
                await runner.run(argv[0], argv[1:])
        with pytest.raises(WorkspaceError, match="not installed"):
            await runner.run("missing-tool")
        with pytest.raises(WorkspaceError, match="NUL"):
            await runner.run("python", ["-c", "print(1)", "\0"])
    async with CommandRunner(workspace, []) as runner:
        with pytest.raises(PermissionDenied, match="may run: nothing"):
            await runner.run("python")


async def test_there_is_no_shell_and_no_environment(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "secret")
    _, runner = make(project)
    async with runner:
        script = (
            "import os, sys; print(sorted(os.environ)); print(sys.argv[1]);"
            "print(sys.stdin.read() == '', os.environ['HOME'])"
        )
        result = await runner.run("python", ["-c", script, "$(touch src/pwned); *"])
    names, argument, rest = result["stdout"].splitlines()
    assert set(eval(names)) <= {"HOME", "LANG", "LC_CTYPE", "PATH", "TMPDIR"}
    assert argument == "$(touch src/pwned); *"
    assert rest.startswith("True ")
    assert rest.endswith("/home")


async def test_tools_beside_the_interpreter_are_found(project: Path) -> None:
    (project / "src" / "bad.py").write_text("import os\n")
    workspace = Workspace(project, Permissions(write=("src/**",)))
    async with CommandRunner(workspace, [["ruff", "check"]]) as runner:
        result = await runner.run("ruff", ["check", "--fix", "--isolated", "src"])
    assert result["exit_code"] == 0, result
    assert workspace.read_text("src/bad.py") == ""


async def test_the_time_limit_kills_everything(project: Path, tmp_path: Path) -> None:
    _, runner = make(project, limits=CommandLimits(seconds=1.0))
    mark = tmp_path / "alive"
    child = (
        f"import time, os; os.setsid(); [(open({str(mark)!r}, 'a').write('x'), time.sleep(0.05)) for _ in range(400)]"
    )
    script = (
        f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]);"
        "print('begun', flush=True); time.sleep(60)"
    )
    async with runner:
        result = await runner.run("python", ["-c", script])
        assert result["exit_code"] == 124
        assert "stopped after 1 s" in result["stderr"]
        assert result["stdout"] == "begun\n"
        size = mark.stat().st_size
        await asyncio.sleep(0.3)
        assert mark.stat().st_size == size > 0


async def test_a_command_leaves_nothing_running(project: Path, tmp_path: Path) -> None:
    _, runner = make(project)
    mark = tmp_path / "alive"
    child = f"import time; [(open({str(mark)!r}, 'a').write('x'), time.sleep(0.05)) for _ in range(400)]"
    script = (
        "import subprocess, sys, time, os\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        f"while not os.path.exists({str(mark)!r}): time.sleep(0.01)\n"
    )
    async with runner:
        async with asyncio.timeout(15):  # the child would go on for 20 seconds
            assert (await runner.run("python", ["-c", script]))["exit_code"] == 0
        size = mark.stat().st_size
        await asyncio.sleep(0.3)
        assert mark.stat().st_size == size


async def test_output_is_clipped_in_the_middle(project: Path) -> None:
    _, runner = make(project, limits=CommandLimits(output_bytes=1000))
    async with runner:
        result = await runner.run("python", ["-c", "print('begin'); print('x' * 5_000_000); print('end')"])
    assert len(result["stdout"]) < 1100
    assert result["stdout"].startswith("begin\n")
    assert result["stdout"].endswith("xx\nend\n")
    assert "bytes left out" in result["stdout"]


async def test_a_project_that_is_too_large_is_refused(project: Path) -> None:
    before = views()
    for limits in (ViewLimits(total_bytes=3), ViewLimits(files=2)):
        _, runner = make(project, limits=CommandLimits(view=limits))
        async with runner:
            with pytest.raises(WorkspaceError, match="too large to copy"):
                await runner.run("python", ["-c", ""])
    assert views() <= before


async def test_a_file_that_changed_meanwhile_is_a_conflict(project: Path) -> None:
    workspace, runner = make(project)
    async with runner:
        await runner.run("python", ["-c", ""])
        (project / "src" / "a.py").write_text("A = 'someone else'\n")
        with pytest.raises(ConflictError, match=r"src/a\.py changed in the project"):
            await runner.run("python", ["-c", "open('src/a.py','w').write('mine')"])
    assert workspace.changes() == []


async def test_the_copy_is_never_inside_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(project / "src"))
    _, runner = make(project)
    async with runner:
        with pytest.raises(WorkspaceError, match="TMPDIR"):
            await runner.run("python", ["-c", ""])


async def test_unreadable_files_are_not_copied(project: Path) -> None:
    _, runner = make(project, read=("src/**",))
    async with runner:
        listing = await runner.run("python", ["-c", "import os; print(os.listdir('.'))"])
    assert listing["stdout"].strip() == "['src']"


async def test_links_inside_are_kept_and_others_left_out(project: Path) -> None:
    (project / "latest").symlink_to("src/a.py")
    (project / "absolute").symlink_to(project / "src" / "a.py")
    (project / "outside").symlink_to("../other")
    (project / "around").symlink_to("../project/notes.txt")
    _, runner = make(project)
    async with runner:
        result = await runner.run(
            "python", ["-c", "import os; print(sorted(os.listdir('.'))); print(open('latest').read())"]
        )
    assert result["stdout"] == "['.gitignore', 'latest', 'notes.txt', 'src']\nA = 1\n\n"


async def test_closing_and_cancelling_remove_the_copy(project: Path) -> None:
    before = views()
    _, runner = make(project)
    await runner.run("python", ["-c", ""])
    assert len(views() - before) == 1
    await runner.aclose()
    assert views() <= before
    task = asyncio.create_task(runner.run("python", ["-c", "import time; time.sleep(60)"]))
    await asyncio.sleep(0.5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert views() <= before


ENGINE = """
import asyncio, sys
from pathlib import Path
from engine.manifest.bundle_model import Permissions
from engine.workspace import CommandRunner, Workspace

async def main():
    runner = CommandRunner(Workspace(Path(sys.argv[1]), Permissions()), [["python"]])
    await runner.run("python", ["-c", sys.argv[2]])

asyncio.run(main())
"""


def test_nothing_survives_a_killed_engine(project: Path, tmp_path: Path) -> None:
    before = views()
    mark = tmp_path / "alive"
    beat = f"[(open({str(mark)!r}, 'a').write('x'), time.sleep(0.02)) for _ in range(3000)]"
    script = (
        "import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        " + beat + "\n    os._exit(0)\n" + beat
    )
    process = subprocess.Popen([sys.executable, "-c", ENGINE, str(project), script])
    try:
        deadline = time.monotonic() + 20
        while not (mark.exists() and mark.stat().st_size > 5):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        assert len(views() - before) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 10
    while views() - before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert views() <= before
    size = mark.stat().st_size
    time.sleep(0.3)
    assert mark.stat().st_size == size

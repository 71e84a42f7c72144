"""Commands that a task may run: without a shell, in a private copy of the project, and gone when the engine is gone."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from engine.errors import PermissionDenied, WorkspaceError
from engine.files import normalise
from engine.workspace.overlay import Workspace
from engine.workspace.reads import ABSENT, digest_of_value
from engine.workspace.tree import FileDigests
from engine.workspace.view import View, ViewLimits

_MAX_ARGUMENT_BYTES = 100_000
_ANSWER_BYTES = 64 << 20
_TIMED_OUT = 124
_PROGRAMS = FileDigests()


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What one command may use.

    Attributes:
        seconds: Time on the clock; then everything that the command started is killed.
        output_bytes: How much of standard output, and as much of standard error, is kept: its beginning and its end.
        view: How large the copy of the project may be.
    """

    seconds: float = 60.0
    output_bytes: int = 64 * 1024
    view: ViewLimits = field(default_factory=ViewLimits)


class CommandRunner:
    """Runs a task's commands, one at a time, in a copy of the project with the task's overlay on top.

    What a command changes goes into the overlay where the bundle may write. The copy is made with the first command;
    `aclose` removes it, and so does the end of this process, however it comes.

    Args:
        workspace: The task's workspace.
        allowed: The argv prefixes that the bundle may run.
        limits: What one command may use.
    """

    def __init__(
        self, workspace: Workspace, allowed: Sequence[Sequence[str]], limits: CommandLimits | None = None
    ) -> None:
        self._workspace = workspace
        self._allowed = tuple(tuple(prefix) for prefix in allowed)
        self._limits = limits or CommandLimits()
        self._guard: asyncio.subprocess.Process | None = None
        self._view: View | None = None
        self._lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def run(self, cmd: str, args: Sequence[str] = ()) -> dict[str, Any]:
        """Run a command and wait for its end.

        Returns:
            `exit_code` (124 when its time was over), `stdout`, `stderr`; and `dropped`, the changed files that the
            bundle may not write, if there are any.

        Raises:
            PermissionDenied: No allowed prefix fits.
            WorkspaceError: The program is not installed, or the project cannot be copied.
            ConflictError: A file that the command changed was changed in the project too.
        """
        return await self.run_declared(self._checked([cmd, *args]))

    async def run_declared(self, argv: list[str]) -> dict[str, Any]:
        """Run a command that the manifest itself spells out, such as a check; the allowed prefixes are not asked.

        Returns and raises what `run` does, but for PermissionDenied.
        """
        async with self._lock:
            try:
                return await self._run(argv)
            except BaseException:
                self._workspace.reads.lose("a command could not be run to its end")
                await asyncio.shield(self._close())
                raise

    async def aclose(self) -> None:
        """Kill what runs and remove the copy."""
        await self._close()

    async def _run(self, argv: list[str]) -> dict[str, Any]:
        view = await self._opened()
        await asyncio.to_thread(view.push)
        folder = view.folder.parent
        self._workspace.reads.note("program", argv[0], lambda: program_digest(argv[0]))
        answer = await self._ask(
            {
                "argv": [_program(argv[0], self._workspace.root, view.folder), *argv[1:]],
                "cwd": str(view.folder),
                "env": _environment(folder),
                "seconds": self._limits.seconds,
                "output": self._limits.output_bytes,
            }
        )
        result = {name: answer[name] for name in ("exit_code", "stdout", "stderr")}
        if answer["timed_out"]:
            result["exit_code"] = _TIMED_OUT
            self._workspace.reads.lose("a command ran out of time")
            result["stderr"] += f"\n[stopped after {self._limits.seconds:g} s]\n"
        dropped = await asyncio.to_thread(view.pull)
        return {**result, "dropped": dropped} if dropped else result

    def _checked(self, argv: list[str]) -> list[str]:
        """Refuse what no prefix allows."""
        if not all(isinstance(part, str) and "\0" not in part for part in argv) or not argv[0]:
            raise WorkspaceError("a command is a program and its arguments: texts without NUL characters")
        if sum(len(part.encode("utf-8", "replace")) + 1 for part in argv) > _MAX_ARGUMENT_BYTES:
            raise WorkspaceError(f"the command is longer than {_MAX_ARGUMENT_BYTES} bytes; write a file instead")
        if not any(tuple(argv[: len(prefix)]) == prefix for prefix in self._allowed if prefix):
            known = "; ".join(" ".join(prefix) for prefix in self._allowed) or "nothing"
            raise PermissionDenied(f"permission 'run' does not cover {' '.join(argv)!r}; the bundle may run: {known}")
        return argv

    async def _opened(self) -> View:
        if self._view is None:
            parent = await asyncio.to_thread(_temporary_parent, self._workspace.root)
            self._guard = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(Path(__file__).with_name("guard.py")),
                parent,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env={"LANG": "C.UTF-8"},
                limit=_ANSWER_BYTES,
            )
            folder = Path((await self._answer())["folder"])
            self._view = await asyncio.to_thread(_make_view, folder, self._workspace, self._limits.view)
        return self._view

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._guard is None or self._guard.stdin is None:
            raise WorkspaceError("the command runner is closed")
        self._guard.stdin.write((json.dumps(request) + "\n").encode())
        await self._guard.stdin.drain()
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        line = (
            await self._guard.stdout.readline() if self._guard is not None and self._guard.stdout is not None else b""
        )
        if not line.endswith(b"\n"):
            raise WorkspaceError("the process that runs the commands ended; is there memory and disk space left?")
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _close(self) -> None:
        guard, self._guard, self._view = self._guard, None, None
        if guard is not None and guard.stdin is not None:
            guard.stdin.close()
            await guard.wait()


def _make_view(folder: Path, workspace: Workspace, limits: ViewLimits) -> View:
    for name in ("project", "home", "tmp"):
        (folder / name).mkdir(mode=0o700)
    view = View(folder / "project", workspace, limits)
    workspace.reads.note("tree", "", view.digest)
    return view


def _temporary_parent(root: Path) -> str:
    """Return the system's folder for temporary files, which must not be part of the project."""
    parent = os.path.realpath(tempfile.gettempdir())
    if (parent + "/").startswith(os.path.realpath(root).rstrip("/") + "/"):
        raise WorkspaceError(f"the folder for temporary files, {parent}, is inside the project; set TMPDIR to another")
    return parent


def _environment(folder: Path) -> dict[str, str]:
    """Return the whole environment of a command: nothing of the caller's but PATH."""
    return {
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "PATH": _search_path(),
        "TMPDIR": str(folder / "tmp"),
    }


def _search_path() -> str:
    """Return PATH with the running interpreter's own programs first."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def program_digest(name: str) -> str:
    """Return what tells a program from others of its name: where it lies and what its file holds.

    A program of the project itself is part of the project's tree. What a program needs beside its own file, such as
    the packages that a script imports, is not looked at.
    """
    if "/" in name and not name.startswith("/"):
        return "of the project"
    found = sys.executable if name in ("python", "python3") else shutil.which(name, path=_search_path())
    try:
        return ABSENT if found is None else digest_of_value([found, _PROGRAMS.of(Path(found), Path(found).stat())])
    except OSError:  # it went away since it was found
        return ABSENT


def _program(name: str, root: Path, view: Path) -> str:
    """Find a program; `python` is the running interpreter.

    Raises:
        WorkspaceError: It is not there.
    """
    if name in ("python", "python3"):
        return sys.executable
    if name.startswith("/"):
        found = name if os.access(name, os.X_OK) else None
    elif "/" in name:
        found = str(view / normalise(root, name))
    else:
        found = shutil.which(name, path=_search_path())
    if found is None:
        raise WorkspaceError(f"'{name}' is allowed but not installed; install it beside the engine or on PATH")
    return found

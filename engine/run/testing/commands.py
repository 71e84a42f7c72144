"""The commands of a case: which may run, and what came of them in the project with all changes made."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from engine.bundle import Bundle
from engine.bundle.cases import BundleCase
from engine.manifest.bundle_model import Permissions, RunCheck
from engine.run.testing.project import CaseProject
from engine.run.testing.results import Failure
from engine.workspace import Change, CommandLimits, CommandRunner, Workspace

# Reads a file and runs nothing of it, as long as Python does not look for the module in the project: that is `-I`.
_COMPILE = ("python", "-m", "py_compile")
_EVERYTHING = Permissions(read=("**/*",), write=("**/*",))
_LIMITS = CommandLimits(seconds=120.0, output_bytes=16 * 1024)


def not_covered(bundle: Bundle, case: BundleCase) -> tuple[str, ...] | None:
    """Return the first command of a case that the bundle could not run in a task either, or None.

    Covered is what `permissions.run` allows, what `checks` run, and `python -m py_compile`.
    """
    manifest = bundle.manifest
    checks = [check.run for check in manifest.checks if isinstance(check, RunCheck)]
    allowed = [prefix for prefix in (*manifest.permissions.run, *checks, _COMPILE) if prefix]
    for argv in case.case.expect.commands:
        if not any(argv[: len(prefix)] == prefix for prefix in allowed):
            return argv
    return None


async def failed_commands(case: BundleCase, project: CaseProject, changes: Sequence[Change]) -> list[Failure]:
    """Run a case's commands in a private copy of its project with the changes made; return those that failed.

    Raises:
        WorkspaceError: A program is not installed, or the copy cannot be made.
    """
    commands = case.case.expect.commands
    if not commands:
        return []
    workspace = Workspace(project.root, _EVERYTHING)
    for change in changes:
        workspace.absorb(change.path, partial(_given, change.before), change.after, change.mode)
    failures = []
    async with CommandRunner(workspace, (), _LIMITS) as runner:
        for index, argv in enumerate(commands):
            filled = [part.replace("{file}", project.target) for part in argv]
            result = await runner.run_declared(_isolated(filled))
            if result["exit_code"] != 0:
                output = (result["stdout"] + result["stderr"]).strip().splitlines()
                message = f"expected '{' '.join(filled)}' to exit with 0, got {result['exit_code']}"
                place = case.place("expect", "commands", index)
                failures.append(Failure(f"commands[{index}]", message, place, "\n".join(output[-12:])))
    return failures


def _isolated(argv: list[str]) -> list[str]:
    return ["python", "-I", *argv[1:]] if tuple(argv[:3]) == _COMPILE else argv


def _given(content: bytes | None) -> bytes | None:
    return content

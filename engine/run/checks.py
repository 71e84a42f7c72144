"""What must hold before a change is offered for review."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.discovery import error_count, language_of
from engine.manifest.bundle_model import RunCheck
from engine.workspace import Change, CommandRunner

Check = Literal["parses"] | RunCheck


class CheckResult(NamedTuple):
    """What one check says about one changed file.

    Attributes:
        file: The file.
        check: `parses`, or the command as the manifest has it.
        passed: Whether it holds.
        detail: Why not; empty when it holds.
    """

    file: str
    check: str
    passed: bool
    detail: str = ""


def parse_problem(path: str, before: bytes | None, after: bytes | None) -> str | None:
    """Return why `after` does not parse, or None; errors that `before` had already don't count.

    Args:
        path: The file's path; its suffix decides the language, and a file of no known language passes.
        before: The old bytes, None for a new file.
        after: The new bytes, None for a deleted file.
    """
    language = language_of(path)
    if language is None or after is None:
        return None
    new = error_count(after, language)
    if not new:
        return None
    old = error_count(before, language) if before is not None else 0
    return f"{path} does not parse after the change ({new - old} new syntax errors)" if new > old else None


async def run_checks(
    checks: Sequence[Check], changes: Sequence[Change], commands: CommandRunner
) -> tuple[CheckResult, ...]:
    """Return what each check says about each change.

    Args:
        checks: The manifest's `checks`.
        changes: The task's changes.
        commands: Runs the commands of checks in the task's view.
    """
    results: list[CheckResult] = []
    for change in changes:
        for check in checks:
            if isinstance(check, RunCheck):
                problem = await _command_problem(check, change, commands)
                name = " ".join(check.run)
            else:
                problem, name = parse_problem(change.path, change.before, change.after), check
            results.append(CheckResult(change.path, name, problem is None, problem or ""))
    return tuple(results)


async def _command_problem(check: RunCheck, change: Change, commands: CommandRunner) -> str | None:
    if change.after is None:
        return None
    argv = [part.replace("{file}", change.path) for part in check.run]
    result = await commands.run_declared(argv)
    if result["exit_code"] == 0:
        return None
    output = (result["stdout"] + result["stderr"]).strip().splitlines()
    return f"check '{' '.join(argv)}' exited with {result['exit_code']}: {' / '.join(output[-3:])}"
